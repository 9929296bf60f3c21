//! The local ports that rules take in, held so that the kernel does not answer their senders.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::os::fd::OwnedFd;

use super::compile::LocalPort;
use super::sockets::{self, PortHold};

/// Ports held, and why others are not.
#[derive(Debug, Default)]
pub struct Ports {
    held: HashMap<LocalPort, OwnedFd>,
    errors: HashMap<LocalPort, String>,
}

impl Ports {
    /// Holds exactly what is wanted, as far as the kernel allows.
    pub fn sync(&mut self, wanted: &BTreeSet<LocalPort>) {
        self.held.retain(|port, _| wanted.contains(port));
        self.errors.clear();
        for port in wanted {
            if self.held.contains_key(port) {
                continue;
            }
            match sockets::unicast_input_socket(port.address, port.ifindex, port.port) {
                Ok(PortHold::Held(socket)) => drop(self.held.insert(*port, socket)),
                // Its owner may end at any time: asked again each second.
                Ok(PortHold::AlreadyHeld) => {}
                Err(error) => drop(self.errors.insert(*port, error.to_string())),
            }
        }
    }

    /// Whether some of what is wanted is not held here.
    pub fn lacks_some(&self, wanted: &BTreeSet<LocalPort>) -> bool {
        self.held.len() < wanted.len()
    }

    /// Why a port is not held.
    pub fn error(&self, address: IpAddr, port: NonZeroU16) -> Option<&String> {
        let same = |local: &&LocalPort| local.address == address && local.port == port;
        self.errors.iter().find(|(local, _)| same(local)).map(|(_, why)| why)
    }

    /// Gives all of them up.
    pub fn clear(&mut self) {
        self.held.clear();
    }
}
