//! What of the file system and of TCP the supervisor can still reach once it serves: landlock(7).
//!
//! It reads its configuration and what /proc says, removes its socket, and starts its own program; workers inherit
//! the fence before they put up a closer one (`dataplane::sandbox`).

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreated,
    RulesetCreatedAttr, RulesetError, RulesetStatus,
};

/// Newest interface whose rights are asked for; older kernels give what they know of it.
const LANDLOCK_ABI: ABI = ABI::V5;

/// What the dynamic loader reads besides libraries.
const LOADER_FILES: [&str; 2] = ["/etc/ld.so.cache", "/etc/ld.so.preload"];

/// Fences the calling thread in, and all it starts later; answers whether the kernel has landlock. `config` may be
/// changed and read again, also where it is replaced by another file of its name; `socket` is removed at the end.
///
/// # Errors
/// The kernel has landlock and refused.
pub fn fence_in(config: &Path, socket: &Path) -> Result<bool, RulesetError> {
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let run = AccessFs::ReadFile | AccessFs::Execute;
    let fence = Ruleset::default()
        .handle_access(AccessFs::from_all(LANDLOCK_ABI))?
        // No rule allows any: neither the supervisor nor a worker has business with TCP.
        .handle_access(AccessNet::from_all(LANDLOCK_ABI))?
        .create()?;
    let mut fence = allow(fence, Path::new("/proc"), read)?;
    for folder in config_folders(config) {
        fence = allow(fence, &folder, read)?;
    }
    if let Some(folder) = folder_of(socket) {
        fence = allow(fence, &folder, AccessFs::RemoveFile.into())?;
    }
    // A worker's standard streams.
    fence = allow(fence, Path::new("/dev/null"), AccessFs::ReadFile | AccessFs::WriteFile)?;
    // The file that runs, though another has its name since an upgrade.
    fence = allow(fence, Path::new("/proc/self/exe"), run)?;
    for folder in library_folders() {
        fence = allow(fence, &folder, run)?;
    }
    for file in LOADER_FILES {
        fence = allow(fence, Path::new(file), AccessFs::ReadFile.into())?;
    }
    Ok(fence.restrict_self()?.ruleset != RulesetStatus::NotEnforced)
}

/// Allows this on a file or on all beneath a folder; what is not there needs no rule.
fn allow(
    fence: RulesetCreated,
    path: &Path,
    access: BitFlags<AccessFs>,
) -> Result<RulesetCreated, RulesetError> {
    match PathFd::new(path) {
        Ok(place) => fence.add_rule(PathBeneath::new(place, access)),
        Err(_) => Ok(fence),
    }
}

/// Where the configuration is, as named and behind symbolic links.
fn config_folders(config: &Path) -> BTreeSet<PathBuf> {
    let behind = fs::canonicalize(config).ok();
    [Some(config), behind.as_deref()].into_iter().flatten().filter_map(folder_of).collect()
}

fn folder_of(path: &Path) -> Option<PathBuf> {
    let folder = path.parent()?;
    Some(if folder.as_os_str().is_empty() { PathBuf::from(".") } else { folder.to_owned() })
}

/// The folders of the libraries that this program runs with, as a worker's start loads them again.
fn library_folders() -> BTreeSet<PathBuf> {
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let program = std::env::current_exe().ok();
    // proc_pid_maps(5): the sixth field is the file.
    let files = maps.lines().filter_map(|line| line.split_ascii_whitespace().nth(5)).map(Path::new);
    let libraries = files.filter(|file| file.is_absolute() && Some(*file) != program.as_deref());
    libraries.filter_map(folder_of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::ErrorKind;
    use std::net::{TcpListener, TcpStream};
    use std::process::Command;
    use std::thread;

    /// Runs `work` on a thread of its own, whose fence ends with it; not where the kernel has no landlock.
    fn fenced_in(config: &Path, socket: &Path, work: impl FnOnce() + Send) {
        thread::scope(|scope| {
            let thread = scope.spawn(|| {
                if fence_in(config, socket).unwrap() {
                    work();
                } else {
                    eprintln!("test-skipped: {}: the kernel has no landlock", module_path!());
                }
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        });
    }

    fn refused<T>(result: std::io::Result<T>) -> bool {
        result.is_err_and(|error| error.kind() == ErrorKind::PermissionDenied)
    }

    #[test]
    fn files_that_are_none_of_its_business_are_out_of_reach() {
        let folder = tempfile::tempdir().unwrap();
        let [config, socket] = ["etc/mcr.toml", "run/mcrd.sock"].map(|name| folder.path().join(name));
        for file in [&config, &socket] {
            fs::create_dir(file.parent().unwrap()).unwrap();
            fs::write(file, "x").unwrap();
        }
        let other = folder.path().join("other");
        fs::write(&other, "x").unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        fenced_in(&config, &socket, || {
            assert!(refused(fs::read("/etc/passwd")));
            assert!(refused(fs::read(&other)));
            assert!(refused(fs::write(&config, "y")), "it reads its configuration and never writes it");
            assert!(refused(fs::write(folder.path().join("run/new"), "y")));
            assert!(refused(fs::remove_file(&config)));
            assert!(refused(TcpStream::connect(address)));
            assert!(refused(TcpListener::bind("127.0.0.1:0")));

            assert_eq!(fs::read_to_string(&config).unwrap(), "x");
            assert!(!fs::read_to_string("/proc/self/net/igmp").unwrap().is_empty());
            fs::remove_file(&socket).unwrap();
        });
        // An editor puts a new file in the place of the old.
        fenced_in(&config, &socket, || assert_eq!(fs::read_to_string(&config).unwrap(), "x"));
    }

    #[test]
    fn its_own_program_can_be_started_and_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let copy = folder.path().join("true");
        fs::copy("/bin/true", &copy).unwrap();
        fenced_in(&folder.path().join("c/mcr.toml"), &folder.path().join("s"), || {
            assert!(refused(Command::new(&copy).status()));
            let list = Command::new("/proc/self/exe").arg("--list").output().unwrap();
            assert!(list.status.success(), "{list:?}");
        });
    }
}
