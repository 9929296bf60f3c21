//! `mcrgen bench` against devices whose figures are known.

mod classes;
mod delays;
mod device;
mod ends;
mod groups;
mod queues;
mod rates;
mod refusals;
