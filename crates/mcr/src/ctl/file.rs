//! Rule files as `apply` reads and `save` writes them.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::CtlError;
use crate::api::APPLY_MAX;
use crate::replace::replace;

/// What the path `-` stands for on the command line: standard input or output.
pub(super) fn is_standard(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// Reads the whole file; `-` is standard input.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, CtlError> {
    let failed = |e: io::Error| CtlError::Refused(format!("reading {} failed: {e}", path.display()));
    let mut text = Vec::new();
    // One byte more than the daemon takes shows that there is too much.
    let most = APPLY_MAX as u64 + 1;
    if is_standard(path) {
        io::stdin().lock().take(most).read_to_end(&mut text).map_err(failed)?;
    } else {
        File::open(path).map_err(failed)?.take(most).read_to_end(&mut text).map_err(failed)?;
    }
    if text.len() > APPLY_MAX {
        let path = path.display();
        return Err(CtlError::Refused(format!(
            "{path} is longer than {APPLY_MAX} bytes, the most that mcrd takes"
        )));
    }
    Ok(text)
}

/// Writes the file, whole or not at all.
pub(super) fn write(path: &Path, text: &[u8]) -> Result<(), CtlError> {
    replace(path, text).map_err(|e| CtlError::Refused(format!("writing {} failed: {e}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_the_file() {
        let e = write(Path::new("/nonexistent/rules.toml"), b"").unwrap_err().to_string();
        assert!(e.contains("/nonexistent/rules.toml"), "{e}");
        let e = read(Path::new("/nonexistent/rules.toml")).unwrap_err().to_string();
        assert!(e.contains("/nonexistent/rules.toml"), "{e}");
    }
}
