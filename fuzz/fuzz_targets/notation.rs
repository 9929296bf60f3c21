//! The notation of endpoints: what is read is written so that it is read as the same.
#![no_main]

use std::fmt::{Debug, Display};
use std::str::FromStr;

use libfuzzer_sys::fuzz_target;
use mcast::{CoreList, Endpoint, Flow, Leg, RuleName};

fn round<T: FromStr<Err: Debug + Display> + Display + PartialEq + Debug>(text: &str) {
    match text.parse::<T>() {
        Ok(value) => assert_eq!(value.to_string().parse::<T>().expect("its own text"), value),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

fuzz_target!(|text: &str| {
    round::<Flow>(text);
    round::<Leg>(text);
    round::<Endpoint>(text);
    round::<RuleName>(text);
    round::<CoreList>(text);
});
