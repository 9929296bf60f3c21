//! Shell completions are those of the command lines as they are.

use std::fs;
use std::path::{Path, PathBuf};

use clap::{Command, CommandFactory};
use clap_complete::{Shell, generate_to};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../dist/completions");

/// Set, what is shipped is written anew instead of compared: `make completions`.
const WRITE: &str = "WRITE_COMPLETIONS";

fn generate(folder: &Path) -> Vec<PathBuf> {
    let programs: [(&str, Command); 3] = [
        ("mcrd", mcr::supervisor::args::Arguments::command()),
        ("mcrctl", mcr::ctl::Cli::command()),
        ("mcrgen", mcr::generator::args::Cli::command()),
    ];
    let each = |(name, mut command): (&'static str, Command)| {
        [Shell::Bash, Shell::Fish, Shell::Zsh]
            .map(|shell| generate_to(shell, &mut command, name, folder).unwrap())
    };
    programs.into_iter().flat_map(each).collect()
}

#[test]
fn shipped_completions_are_current() {
    if std::env::var_os(WRITE).is_some() {
        generate(Path::new(FOLDER));
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut current = generate(folder.path());
    current.sort();
    let mut shipped: Vec<_> = fs::read_dir(FOLDER).unwrap().map(|entry| entry.unwrap().path()).collect();
    shipped.sort();
    let names =
        |paths: &[PathBuf]| paths.iter().map(|path| path.file_name().unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(names(&shipped), names(&current));
    for (shipped, current) in shipped.iter().zip(&current) {
        let same = fs::read_to_string(shipped).unwrap() == fs::read_to_string(current).unwrap();
        assert!(same, "{} is not what the command line is: run make completions", shipped.display());
    }
}
