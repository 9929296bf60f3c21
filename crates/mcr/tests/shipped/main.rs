//! What is shipped beside the programs says what the programs do: shell completions.
#![expect(clippy::unwrap_used, reason = "a fixture that fails is a test that fails")]

mod completions;
