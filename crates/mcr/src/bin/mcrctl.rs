//! `mcrctl` controls a running `mcrd`; all of it is [`mcr::ctl`].

use std::process::ExitCode;

fn main() -> ExitCode {
    mcr::ctl::main(std::env::args_os())
}
