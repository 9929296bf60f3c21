//! What a program's `--help` offers: its verbs and options.

use std::collections::BTreeSet;
use std::process::Command;

/// The options and verbs of one help text, each option with the name of its value, as in `--config FILE`.
#[derive(Debug, Default)]
pub(crate) struct Help {
    pub(crate) verbs: BTreeSet<String>,
    pub(crate) options: BTreeSet<String>,
}

impl Help {
    /// Asks the program, about this verb if one is named.
    pub(crate) fn of(program: &str, verb: Option<&str>) -> Self {
        let output = Command::new(program).args(verb).arg("--help").output().unwrap();
        assert!(output.status.success(), "{program}: {output:?}");
        let mut help = Self::default();
        let mut section = "";
        for line in str::from_utf8(&output.stdout).unwrap().lines() {
            if !line.is_empty() && !line.starts_with(' ') {
                section = line;
            }
            let text = line.trim_start();
            let indent = line.len() - text.len();
            match section {
                // What is indented further goes on with what is said of the verb above.
                "Commands:" if indent == 2 => help.verbs.extend(text.split(' ').next().map(str::to_owned)),
                "Options:" if text.starts_with("--") || text.contains(", --") && text.starts_with('-') => {
                    help.options.insert(option(text));
                }
                _ => {}
            }
        }
        help
    }
}

/// `-h, --help   Print help` as `--help`, `--config <FILE>` as `--config FILE`.
fn option(line: &str) -> String {
    let long = &line[line.find("--").unwrap()..];
    let definition = long.split("  ").next().unwrap();
    definition.replace(['<', '>'], "")
}
