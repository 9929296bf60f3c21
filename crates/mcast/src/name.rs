//! Names an operator gives or reads: rules and network interfaces.

use std::fmt;
use std::str::FromStr;

/// Longest interface name in bytes: `IFNAMSIZ` less its terminator (netdevice(7)).
const INTERFACE_NAME_MAX: usize = 15;

/// Longest rule name in bytes; a bound on what the control API accepts and logs.
const RULE_NAME_MAX: usize = 64;

/// Why a name was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The interface name is empty, too long, or has a character the kernel or the notation does not take.
    #[error(
        "{0:?} is not an interface name: 1 to {INTERFACE_NAME_MAX} printable characters without space / : , % @ [ ]"
    )]
    Interface(String),
    /// The rule name is empty, too long, or has a character that does not survive a URL path or a log line.
    #[error("{0:?} is not a rule name: 1 to {RULE_NAME_MAX} of letters, digits and . _ - (not . or ..)")]
    Rule(String),
}

/// A network interface's name as the kernel knows it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InterfaceName(Box<str>);

impl InterfaceName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for InterfaceName {
    type Err = NameError;

    fn from_str(s: &str) -> Result<Self, NameError> {
        let legal = |b: u8| b.is_ascii_graphic() && !b"/:,%@[]".contains(&b);
        if s.is_empty() || s.len() > INTERFACE_NAME_MAX || !s.bytes().all(legal) || s == "." || s == ".." {
            return Err(NameError::Interface(s.to_owned()));
        }
        Ok(Self(s.into()))
    }
}

impl fmt::Display for InterfaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A rule's name: unique in the running set, the key of every operation on it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RuleName(Box<str>);

impl RuleName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RuleName {
    type Err = NameError;

    fn from_str(s: &str) -> Result<Self, NameError> {
        let legal = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
        if s.is_empty() || s.len() > RULE_NAME_MAX || !s.bytes().all(legal) || s == "." || s == ".." {
            return Err(NameError::Rule(s.to_owned()));
        }
        Ok(Self(s.into()))
    }
}

impl fmt::Display for RuleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
