//! A link of the tester's own: where it goes away, what lacks from then on is no loss of the device's.

use std::io;

use dataplane::sys::ethtool::Device;
use dataplane::sys::link_watch::LinkWatch;
use mcast::InterfaceName;
use rustix::net::{AddressFamily, SocketType, netdevice, socket};

use super::error::TesterError;
use super::place::Place;
use crate::generator::tap::TapError;

/// The link of a place.
#[derive(Debug)]
pub(super) struct Link {
    place: Place,
    name: InterfaceName,
    index: u32,
    watch: LinkWatch,
}

impl Link {
    /// That of a place in the calling thread's namespace, from here on; absent where its endpoint names no interface.
    ///
    /// # Errors
    /// When it is down or cannot be watched.
    pub(super) fn open(place: &Place) -> Result<Option<Self>, TesterError> {
        let Some(name) = place.endpoint.interface.clone() else { return Ok(None) };
        let failed = |error: io::Error| {
            let place = Box::new(place.clone());
            match error.kind() {
                io::ErrorKind::NetworkDown => TesterError::Down(place, name.clone()),
                io::ErrorKind::PermissionDenied => TesterError::Tap(place, TapError::Permission),
                _ => TesterError::Link(place, name.clone(), error),
            }
        };
        let index = index(&name).map_err(failed)?;
        let watch = LinkWatch::open(index).map_err(failed)?;
        Ok(Some(Self { place: place.clone(), name, index, watch }))
    }

    /// # Errors
    /// When it went down or away since it was opened.
    pub(super) fn check(&self) -> Result<(), TesterError> {
        if self.watch.went_down().unwrap_or(true) || !self.is_up() {
            return Err(TesterError::WentDown(Box::new(self.place.clone()), self.name.clone()));
        }
        Ok(())
    }

    /// One that has been made anew under the same name is not the one that sockets are bound to.
    fn is_up(&self) -> bool {
        let up = || Device::open(self.name.as_str()).and_then(|device| device.is_up());
        index(&self.name).is_ok_and(|index| index == self.index) && up().unwrap_or(false)
    }
}

fn index(name: &InterfaceName) -> io::Result<u32> {
    let socket = socket(AddressFamily::INET, SocketType::DGRAM, None)?;
    Ok(netdevice::name_to_index(&socket, name.as_str())?)
}
