//! `mcrctl doctor` with the real programs in namespaces: each fault is made, and found by its check.
//!
//! Each test has a relay and links of its own. What is asserted is the document of `--json`; of evidence and remedy the
//! one word that an operator acts on.
#![expect(clippy::unwrap_used, reason = "a fixture that fails is a test that fails")]

mod bounds;
mod healthy;
mod host;
mod input;
mod joins;
mod outputs;
mod traffic;
mod ward;
