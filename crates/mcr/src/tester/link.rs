//! A link of the tester's own: where it goes away, what lacks from then on is no loss of the device's.

use std::io;

use dataplane::sys::ethtool::Device;
use dataplane::sys::link_watch::LinkWatch;

use super::error::TesterError;
use super::place::Place;
use crate::generator::tap::TapError;
use crate::generator::target::Interface;

/// The link of a place.
#[derive(Debug)]
pub(super) struct Link {
    place: Place,
    interface: Interface,
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
        let interface = Interface::named(name.clone()).map_err(failed)?;
        let watch = LinkWatch::open(interface.index).map_err(failed)?;
        Ok(Some(Self { place: place.clone(), interface, watch }))
    }

    /// # Errors
    /// When it went down or away since this was last asked, or it was opened.
    pub(super) fn check(&self) -> Result<(), TesterError> {
        if self.watch.went_down().unwrap_or(true) || !self.is_up() {
            return Err(TesterError::WentDown(Box::new(self.place.clone()), self.interface.name.clone()));
        }
        Ok(())
    }

    /// One that has been made anew under the same name is not the one that sockets are bound to.
    fn is_up(&self) -> bool {
        let name = &self.interface.name;
        let up = || Device::open(name.as_str()).and_then(|device| device.is_up());
        Interface::named(name.clone()).is_ok_and(|now| now == self.interface) && up().unwrap_or(false)
    }
}
