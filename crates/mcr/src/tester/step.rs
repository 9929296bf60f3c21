//! What is varied between measurements.

use serde::Serialize;

use super::size::Mix;

/// One combination.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    /// UDP payload, bytes.
    pub size: Mix,
    /// Outputs of the device for each flow.
    pub fanout: u16,
    /// Flows, each to a group of its own; 0 while that is what is sought.
    pub groups: u16,
    /// Unicast packets in a hundred, where there are any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unicast_share: Option<u8>,
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "size {}, fan-out {}", self.size, self.fanout)?;
        if self.groups > 0 {
            write!(f, ", groups {}", self.groups)?;
        }
        self.unicast_share.map_or(Ok(()), |share| write!(f, ", unicast {share} %"))
    }
}
