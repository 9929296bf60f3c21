//! What is shipped beside the programs says what the programs do: manual pages, shell completions.
#![expect(clippy::unwrap_used, reason = "a fixture that fails is a test that fails")]

mod completions;
mod help;
mod manual;
