use std::fs;

use super::*;

const FRAME: Frame<'_> = Frame { title: String::new(), x: "across", y: "up", logarithmic: false };

fn drawn(frame: &Frame<'_>, lines: &mut [Line]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("plot.svg");
    plot(&path, frame, lines).unwrap();
    fs::read_to_string(path).unwrap()
}

/// A number of an SVG tag.
fn number(tag: &str, name: &str) -> f64 {
    let (_, rest) = tag.split_once(&format!(" {name}=\"")).unwrap_or_else(|| panic!("{name} in {tag}"));
    rest.split_once('"').unwrap().0.parse().unwrap()
}

/// Where each text begins, and what it says.
fn texts(svg: &str) -> Vec<(f64, f64, String)> {
    let tags = svg.split("<text").skip(1);
    tags.map(|tag| {
        let text = tag.split_once('>').unwrap().1.split_once("</text>").unwrap().0;
        (number(tag, "x"), number(tag, "y"), text.trim().to_owned())
    })
    .collect()
}

#[test]
fn a_long_key_is_within_the_picture() {
    let names: Vec<_> = (0..60).map(|at| format!("fan-out {at}, groups 10000, unicast 100 %")).collect();
    let point = |at| Point { x: 1400.0, y: f64::from(at), range: None, at_least: false };
    let mut lines: Vec<_> =
        (0..).zip(&names).map(|(at, name)| Line { name: name.clone(), points: vec![point(at)] }).collect();
    let svg = drawn(&FRAME, &mut lines);
    let (width, height) = (number(&svg, "width"), number(&svg, "height"));
    let texts = texts(&svg);
    let mut places = Vec::new();
    for name in &names {
        let (x, y, _) = texts.iter().find(|(_, _, text)| text == name).unwrap();
        // A letter is some 7 pixels wide.
        assert!(*x + 7.0 * name.len() as f64 <= width && *y + 15.0 <= height, "{name} at {x}, {y}");
        assert!(!places.contains(&(x, y)), "{name} is over another");
        places.push((x, y));
    }
}

#[test]
fn one_place_across_has_one_number() {
    let points = [300_000.0, 310_000.0].map(|y| Point { x: 106.0, y, range: None, at_least: false });
    let svg = drawn(&FRAME, &mut [Line { name: "a".into(), points: points.to_vec() }]);
    let texts = texts(&svg);
    let labels: Vec<_> = texts.iter().map(|(.., text)| text).filter(|text| text.len() == 3).collect();
    assert_eq!(labels, ["106"], "{texts:?}");
}

#[test]
fn what_is_no_limit_of_the_devices_is_hollow() {
    let point = |x, y, at_least| Point { x, y, range: Some((y - 1.0, y + 1.0)), at_least };
    let hollow = |svg: &str| svg.matches("fill=\"#FFFFFF\" stroke=\"none\"").count();
    let line = |points| Line { name: "a".into(), points };
    let devices = drawn(&FRAME, &mut [line(vec![point(1.0, 5.0, false), point(2.0, 6.0, false)])]);
    let testers = drawn(&FRAME, &mut [line(vec![point(1.0, 5.0, false), point(2.0, 6.0, true)])]);
    assert_eq!(hollow(&testers), hollow(&devices) + 1, "{testers}");
    assert!(!devices.contains(HOLLOW));
    // The SVG has its apostrophe escaped.
    assert!(testers.contains("hollow: at least this"), "{testers}");
}
