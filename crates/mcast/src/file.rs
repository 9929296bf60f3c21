//! The rule file: `[[rule]]` entries and a `[worker]` table in TOML.
//!
//! Reading it reports everything wrong at once, each with line and column of the value to change; only bad
//! TOML ends at its first error. What is read has passed every check of [`RuleSet`]; what is written reads back
//! equal. Opening files is left to the caller, and so is naming them in messages.

use std::fmt;

use serde::Deserialize;
use toml::de::{DeTable, DeValue, ValueDeserializer};
use toml::{Spanned, Value};

use crate::file_place::{Lines, Place};
use crate::{
    CoreList, Engine, Rule, RuleError, RuleName, RulePart, RuleSet, SetError, SetFault, WorkerOptions,
};

/// Most errors a message lists; the rest is counted.
const LISTED_MAX: usize = 20;

/// A rule file's content.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RuleFile {
    /// The `[[rule]]` entries, in order.
    pub rules: RuleSet,
    /// The `[worker]` table.
    pub worker: WorkerOptions,
}

/// Everything wrong with a rule file, in its order.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct FileError {
    mistakes: Vec<Mistake>,
}

/// One thing wrong with a rule file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong and what to write instead.
    pub message: String,
}

impl FileError {
    /// The mistakes, at least one.
    pub fn mistakes(&self) -> &[Mistake] {
        &self.mistakes
    }
}

impl fmt::Display for FileError {
    /// One line a mistake.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, mistake) in self.mistakes.iter().take(LISTED_MAX).enumerate() {
            if place > 0 {
                f.write_str("\n")?;
            }
            mistake.fmt(f)?;
        }
        match self.mistakes.len().checked_sub(LISTED_MAX) {
            None | Some(0) => Ok(()),
            Some(more) => write!(f, "\nand {more} more"),
        }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}: {}", self.line, self.column, self.message)
    }
}

impl RuleFile {
    /// Reads a rule file's text.
    ///
    /// # Errors
    /// Each with place and remedy; a rule with a value that cannot be read is not looked at further.
    pub fn parse(text: &str) -> Result<Self, FileError> {
        let mut reader = Reader { lines: Lines::new(text), mistakes: Vec::new() };
        let mut file = Self::default();
        let (document, errors) = DeTable::parse_recoverable(text);
        // Later errors tend to follow from the first, which is not always the first found.
        match errors.iter().min_by_key(|error| error.span().map(|span| span.start)) {
            None => file = reader.read(document.get_ref()),
            Some(error) => reader.note_toml(0, error, "not TOML: "),
        }
        if reader.mistakes.is_empty() {
            return Ok(file);
        }
        reader.mistakes.sort_by_key(|mistake| (mistake.line, mistake.column));
        Err(FileError { mistakes: reader.mistakes })
    }

    /// The text that [`RuleFile::parse`] reads as this.
    pub fn to_toml(&self) -> String {
        let mut text = String::new();
        write_worker(&mut text, &self.worker);
        for rule in self.rules.iter() {
            write_rule(&mut text, rule);
        }
        text
    }
}

/// A text as a TOML string, quoted as needed.
fn quoted(text: &dyn fmt::Display) -> String {
    Value::String(text.to_string()).to_string()
}

fn write_rule(text: &mut String, rule: &Rule) {
    if !text.is_empty() {
        text.push('\n');
    }
    text.push_str("[[rule]]\n");
    text.push_str(&format!("name = {}\n", quoted(&rule.name)));
    text.push_str(&format!("input = {}\n", quoted(&rule.input)));
    match rule.outputs.as_slice() {
        [output] => text.push_str(&format!("outputs = [{}]\n", quoted(output))),
        outputs => {
            text.push_str("outputs = [\n");
            for output in outputs {
                text.push_str(&format!("    {},\n", quoted(output)));
            }
            text.push_str("]\n");
        }
    }
    if rule.engine != Engine::default() {
        text.push_str(&format!("engine = {}\n", quoted(&rule.engine)));
    }
}

fn write_worker(text: &mut String, worker: &WorkerOptions) {
    if worker.is_default() {
        return;
    }
    text.push_str("[worker]\n");
    if let Some(cores) = &worker.cores {
        text.push_str(&format!("cores = {}\n", quoted(cores)));
    }
    if let Some(ring_mib) = worker.ring_mib {
        text.push_str(&format!("ring_mib = {ring_mib}\n"));
    }
    if let Some(busy_poll) = worker.busy_poll {
        text.push_str(&format!("busy_poll = {busy_poll}\n"));
    }
    if let Some(max_wait_us) = worker.max_wait_us {
        text.push_str(&format!("max_wait_us = {max_wait_us}\n"));
    }
}

type Node<'i> = Spanned<DeValue<'i>>;

/// A rule read, with where its parts stand.
struct Draft<'a, 'i> {
    rule: Rule,
    name: &'a Node<'i>,
    input: &'a Node<'i>,
    outputs: &'a Node<'i>,
    engine: Option<&'a Node<'i>>,
}

/// Collects mistakes on the way through the document.
struct Reader<'t> {
    lines: Lines<'t>,
    mistakes: Vec<Mistake>,
}

impl Reader<'_> {
    fn note(&mut self, offset: usize, message: impl Into<String>) {
        let Place { line, column } = self.lines.place(offset);
        self.mistakes.push(Mistake { line, column, message: message.into() });
    }

    /// Notes what the TOML crate says, at the place it says or else at `offset`.
    fn note_toml(&mut self, offset: usize, error: &toml::de::Error, prefix: &str) {
        let offset = error.span().map_or(offset, |span| span.start);
        let message = error.message().lines().collect::<Vec<_>>().join(", ");
        self.note(offset, format!("{prefix}{message}"));
    }

    fn read(&mut self, document: &DeTable<'_>) -> RuleFile {
        let mut file = RuleFile::default();
        let mut drafts = Vec::new();
        for (key, value) in document {
            match (key.get_ref().as_ref(), value.get_ref()) {
                ("rule", DeValue::Array(rules)) => {
                    for rule in rules {
                        drafts.extend(self.read_rule(rule));
                    }
                }
                ("worker", DeValue::Table(worker)) => file.worker = self.read_worker(worker),
                ("rule", _) => {
                    self.note(key.span().start, "a rule stands under [[rule]], in double brackets");
                }
                ("worker", _) => {
                    self.note(key.span().start, "worker is a table: write [worker]");
                }
                (other, _) => {
                    let message = format!("unknown key {other:?}: the file has [[rule]] and [worker]");
                    self.note(key.span().start, message);
                }
            }
        }
        let rules = drafts.iter().map(|draft| draft.rule.clone()).collect();
        match RuleSet::from_rules(rules) {
            Ok(rules) => file.rules = rules,
            Err(faults) => self.note_faults(&drafts, faults),
        }
        file
    }

    fn read_rule<'a, 'i>(&mut self, node: &'a Node<'i>) -> Option<Draft<'a, 'i>> {
        let start = node.span().start;
        let Some(table) = node.get_ref().as_table() else {
            self.note(start, "a rule is a table: write [[rule]] and its keys below");
            return None;
        };
        for key in table.keys() {
            if !["name", "input", "outputs", "engine"].contains(&key.get_ref().as_ref()) {
                let message =
                    format!("unknown key {:?}: a rule has name, input, outputs and engine", key.get_ref());
                self.note(key.span().start, message);
            }
        }
        let mut required = |key, example| {
            let node = table.get(key);
            if node.is_none() {
                self.note(start, format!("the rule has no {key}: write {key} = {example}"));
            }
            node
        };
        let name = required("name", "\"camera-1\"");
        let input = required("input", "\"239.1.1.1%eth0:5000\"");
        let outputs = required("outputs", "[\"239.2.2.2%eth1:6000\"]");
        let engine = table.get("engine");
        let read_name = name.and_then(|node| self.read_value::<RuleName>(node));
        let read_input = input.and_then(|node| self.read_value(node));
        let read_outputs = outputs.and_then(|node| self.read_outputs(node));
        let read_engine = match engine {
            Some(node) => self.read_value(node),
            None => Some(Engine::default()),
        };
        let rule =
            Rule { name: read_name?, input: read_input?, outputs: read_outputs?, engine: read_engine? };
        Some(Draft { rule, name: name?, input: input?, outputs: outputs?, engine })
    }

    fn read_outputs(&mut self, node: &Node<'_>) -> Option<Vec<crate::Leg>> {
        let Some(outputs) = node.get_ref().as_array() else {
            self.note(node.span().start, "outputs is a list: write outputs = [\"239.2.2.2%eth1:6000\"]");
            return None;
        };
        let read: Vec<_> = outputs.iter().map(|output| self.read_value(output)).collect();
        read.into_iter().collect()
    }

    fn read_value<T: for<'de> Deserialize<'de>>(&mut self, node: &Node<'_>) -> Option<T> {
        match T::deserialize(ValueDeserializer::from(node.clone())) {
            Ok(value) => Some(value),
            Err(error) => {
                self.note_toml(node.span().start, &error, "");
                None
            }
        }
    }

    fn read_worker(&mut self, table: &DeTable<'_>) -> WorkerOptions {
        let mut worker = WorkerOptions::default();
        for (key, node) in table {
            match key.get_ref().as_ref() {
                "cores" => worker.cores = self.read_value::<CoreList>(node),
                "ring_mib" => {
                    let range = 1..=WorkerOptions::RING_MIB_MAX;
                    worker.ring_mib =
                        self.read_number("ring_mib", "MiB", node, range).and_then(|n| n.try_into().ok());
                }
                "busy_poll" => match node.get_ref().as_bool() {
                    Some(busy_poll) => worker.busy_poll = Some(busy_poll),
                    None => self.note(node.span().start, "busy_poll is a switch: write true or false"),
                },
                "max_wait_us" => {
                    let range = 0..=WorkerOptions::MAX_WAIT_US_MAX;
                    worker.max_wait_us = self.read_number("max_wait_us", "microseconds", node, range);
                }
                other => {
                    let known = "[worker] has cores, ring_mib, busy_poll and max_wait_us";
                    self.note(key.span().start, format!("unknown key {other:?}: {known}"));
                }
            }
        }
        worker
    }

    fn read_number(
        &mut self,
        key: &str,
        unit: &str,
        node: &Node<'_>,
        range: std::ops::RangeInclusive<u16>,
    ) -> Option<u16> {
        let number = u16::deserialize(ValueDeserializer::from(node.clone())).ok();
        let number = number.filter(|number| range.contains(number));
        if number.is_none() {
            let (least, most) = range.into_inner();
            let message =
                format!("{key} is out of range: write a whole number of {unit} from {least} to {most}");
            self.note(node.span().start, message);
        }
        number
    }

    fn note_faults(&mut self, drafts: &[Draft<'_, '_>], faults: Vec<SetFault>) {
        let mut first_lines = std::collections::HashMap::new();
        for draft in drafts {
            let line = self.lines.place(draft.name.span().start).line;
            first_lines.entry(&draft.rule.name).or_insert(line);
        }
        for fault in faults {
            let offset = drafts.get(fault.rule).map_or(0, |draft| draft.offset(&fault));
            let other = match &fault.error {
                SetError::NameTaken(name) | SetError::InputTaken { other: name, .. } => first_lines.get(name),
                _ => None,
            };
            let other = other.map(|line| format!(" (the other stands at line {line})")).unwrap_or_default();
            self.note(offset, format!("{}{other}", fault.error));
        }
    }
}

impl Draft<'_, '_> {
    /// Where the value stands that a fault is about.
    fn offset(&self, fault: &SetFault) -> usize {
        let node = match fault.part {
            RulePart::Name => self.name,
            RulePart::Input => self.input,
            RulePart::Outputs => self.outputs,
            RulePart::Output(place) => self.outputs.get_ref().get(place).unwrap_or(self.outputs),
            RulePart::Engine => self.engine.unwrap_or(self.name),
        };
        let keys = match &fault.error {
            SetError::Rule { error, .. } => table_keys(error),
            _ => &[],
        };
        let inner = node.get_ref().as_table().and_then(|table| keys.iter().find_map(|&key| table.get(key)));
        inner.unwrap_or(node).span().start
    }
}

/// The keys an error is about where the input or output is a table.
fn table_keys(error: &RuleError) -> &'static [&'static str] {
    match error {
        RuleError::InputAddress { .. } | RuleError::OutputAddress { .. } => &["group", "address"],
        RuleError::InputSource { .. } | RuleError::OutputSource { .. } | RuleError::KeepFamily { .. } => {
            &["source"]
        }
        RuleError::Batch(_) => &["batch"],
        RuleError::FramesToHost(_) => &["send"],
        RuleError::InputPort(_)
        | RuleError::NoOutputs
        | RuleError::TooManyOutputs(_)
        | RuleError::GroupInterface { .. }
        | RuleError::LinkLocalInterface { .. }
        | RuleError::OutputTwice(_)
        | RuleError::Engine(_) => &[],
    }
}
