//! Rule files: refused with places inside the text, or read, written and read again as the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mcast::RuleFile;

fuzz_target!(|text: &str| {
    match RuleFile::parse(text) {
        Ok(file) => {
            let again = RuleFile::parse(&file.to_toml()).expect("its own text");
            assert_eq!(again, file);
            let plan = file.rules.plan(&again.rules);
            assert!(plan.add.is_empty() && plan.remove.is_empty() && plan.change.is_empty());
        }
        Err(error) => assert!(!error.mistakes().is_empty() && !error.to_string().is_empty()),
    }
});
