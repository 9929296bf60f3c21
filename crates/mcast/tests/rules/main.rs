//! Rules from their notation to sets, through the public interface.

mod notation;
mod strategies;
