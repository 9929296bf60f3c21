//! What moves packets.
