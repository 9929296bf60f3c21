//! What a network device is and does, by `ioctl` on its name.
//!
//! Answers come from the caller's network namespace, which sysfs does not promise. Nothing is changed.
#![expect(unsafe_code, reason = "ioctl with the kernel's own structures")]

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::net::{AddressFamily, SocketType};

const ETHTOOL_GSTRINGS: u32 = 0x1b;
const ETHTOOL_GSSET_INFO: u32 = 0x37;
const ETHTOOL_GFEATURES: u32 = 0x3a;
const ETH_SS_FEATURES: u32 = 4;
const GSTRING_BYTES: usize = 32;

/// Most features asked for; kernels have some 70.
const FEATURES_MAX: usize = 256;

/// One device, asked by name at each call.
#[derive(Debug)]
pub struct Device {
    socket: OwnedFd,
    request: libc::ifreq,
}

/// `struct ethtool_sset_info` with room for one count.
#[repr(C)]
struct StringSetInfo {
    cmd: u32,
    reserved: u32,
    mask: u64,
    count: u32,
}

/// `struct ethtool_gstrings`.
#[repr(C)]
struct Strings {
    cmd: u32,
    set: u32,
    len: u32,
    data: [[u8; GSTRING_BYTES]; FEATURES_MAX],
}

/// `struct ethtool_gfeatures`: per block of 32 features available, requested, active, never changed.
#[repr(C)]
struct Features {
    cmd: u32,
    size: u32,
    blocks: [[u32; 4]; FEATURES_MAX / 32],
}

impl Device {
    /// The device called `name`.
    ///
    /// # Errors
    /// `InvalidInput` if the name is too long for one; otherwise what `socket` reported. Whether the device
    /// exists shows at the first question.
    pub fn open(name: &str) -> io::Result<Self> {
        let socket = rustix::net::socket(AddressFamily::INET, SocketType::DGRAM, None)?;
        // SAFETY: `ifreq` is plain integers, arrays and a union of them; all zeroes is a valid value.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        if name.len() >= request.ifr_name.len() {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        }
        for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
            *to = from.cast_signed();
        }
        Ok(Self { socket, request })
    }

    /// The device's Ethernet address; absent for other kinds of device.
    ///
    /// # Errors
    /// What `SIOCGIFHWADDR` reported: `ENODEV` without such a device.
    pub fn ethernet_address(&self) -> io::Result<Option<[u8; 6]>> {
        let mut request = self.request;
        ioctl(&self.socket, libc::SIOCGIFHWADDR, &mut request)?;
        // SAFETY: the kernel filled `ifru_hwaddr`; every bit pattern is a valid `sockaddr`.
        let address = unsafe { request.ifr_ifru.ifru_hwaddr };
        if address.sa_family != libc::ARPHRD_ETHER {
            return Ok(None);
        }
        let [a, b, c, d, e, f, ..] = address.sa_data.map(i8::cast_unsigned);
        Ok(Some([a, b, c, d, e, f]))
    }

    /// The device's MTU in bytes.
    ///
    /// # Errors
    /// What `SIOCGIFMTU` reported.
    pub fn mtu(&self) -> io::Result<usize> {
        let mut request = self.request;
        ioctl(&self.socket, libc::SIOCGIFMTU, &mut request)?;
        // SAFETY: the kernel filled `ifru_mtu`, an integer.
        let mtu = unsafe { request.ifr_ifru.ifru_mtu };
        Ok(usize::try_from(mtu).unwrap_or(0))
    }

    /// Whether the device is switched on (`IFF_UP`).
    ///
    /// # Errors
    /// What `SIOCGIFFLAGS` reported.
    pub fn is_up(&self) -> io::Result<bool> {
        let mut request = self.request;
        ioctl(&self.socket, libc::SIOCGIFFLAGS, &mut request)?;
        // SAFETY: the kernel filled `ifru_flags`, an integer.
        let flags = unsafe { request.ifr_ifru.ifru_flags };
        Ok(i32::from(flags) & libc::IFF_UP != 0)
    }

    /// Whether the feature `ethtool -k` lists as `feature` is active; absent when the device has no such feature.
    ///
    /// # Errors
    /// What `SIOCETHTOOL` reported.
    pub fn feature(&self, feature: &str) -> io::Result<Option<bool>> {
        let mut info =
            StringSetInfo { cmd: ETHTOOL_GSSET_INFO, reserved: 0, mask: 1 << ETH_SS_FEATURES, count: 0 };
        self.ethtool(&mut info)?;
        let count = info.count as usize;
        if info.mask == 0 || count > FEATURES_MAX {
            return Err(io::Error::from(io::ErrorKind::Unsupported));
        }
        let mut strings = Box::new(Strings {
            cmd: ETHTOOL_GSTRINGS,
            set: ETH_SS_FEATURES,
            len: info.count,
            data: [[0; GSTRING_BYTES]; FEATURES_MAX],
        });
        self.ethtool(&mut *strings)?;
        let named = |text: &[u8; GSTRING_BYTES]| {
            CStr::from_bytes_until_nul(text).is_ok_and(|text| text.to_bytes() == feature.as_bytes())
        };
        let Some(at) = strings.data[..count].iter().position(named) else { return Ok(None) };
        let mut features = Features {
            cmd: ETHTOOL_GFEATURES,
            size: info.count.div_ceil(32),
            blocks: [[0; 4]; FEATURES_MAX / 32],
        };
        self.ethtool(&mut features)?;
        let [_, _, active, _] = features.blocks[at / 32];
        Ok(Some(active >> (at % 32) & 1 == 1))
    }

    /// One `SIOCETHTOOL` question; `question` is one of this file's structs, laid out as its command asks.
    fn ethtool<T>(&self, question: &mut T) -> io::Result<()> {
        let mut request = self.request;
        request.ifr_ifru.ifru_data = (&raw mut *question).cast();
        ioctl(&self.socket, libc::SIOCETHTOOL, &mut request)
    }
}

fn ioctl(socket: &OwnedFd, command: libc::Ioctl, request: &mut libc::ifreq) -> io::Result<()> {
    // SAFETY: all commands here take an `ifreq`; where it points on, `ethtool` holds the target borrowed.
    let answer = unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), command, &raw mut *request) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_no_ethernet_and_has_a_known_feature() {
        let lo = Device::open("lo").unwrap();
        assert_eq!(lo.ethernet_address().unwrap(), None);
        assert!(lo.mtu().unwrap() > 1000);
        assert_eq!(lo.feature("no-such-feature").unwrap(), None);
        assert!(lo.feature("tx-udp-segmentation").unwrap().is_some());
    }

    #[test]
    fn an_absent_device_is_an_error() {
        let absent = Device::open("mcrnone0").unwrap();
        assert_eq!(absent.mtu().unwrap_err().raw_os_error(), Some(libc::ENODEV));
        assert!(Device::open("longer-than-any-interface").is_err());
    }
}
