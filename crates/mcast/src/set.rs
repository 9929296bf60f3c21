//! Rules that run together.
//!
//! Every rule in a [`RuleSet`] passes [`Rule::check`], and together they have distinct names and inputs and
//! no loop. A refused change leaves the set as it was. Checks cost the size of what changes, and for a whole
//! set its sum, also where many rules share an address.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;

use crate::loops::{Circle, circles};
use crate::{Flow, Rule, RuleError, RuleName, RulePart};

/// Most rules a set may have.
pub const RULES_MAX: usize = 100_000;

/// Why a rule is refused among others.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SetError {
    /// It cannot run whatever the others are.
    #[error("rule {name}: {error}")]
    Rule {
        /// The rule.
        name: RuleName,
        /// What is wrong with it.
        error: Box<RuleError>,
    },
    /// Its name is another's.
    #[error("there is a rule named {0} already: give this one another name, or replace that one")]
    NameTaken(RuleName),
    /// Its input is another's.
    #[error(
        "rules {name} and {other} both have the input {input}: list all outputs in one of them, or tell the \
         inputs apart by source or port"
    )]
    InputTaken {
        /// The rule.
        name: RuleName,
        /// The one that has the input already.
        other: RuleName,
        /// The input of both.
        input: Box<Flow>,
    },
    /// It sends what it receives.
    #[error("loop: {circle}: send to another group, port or interface somewhere on the way")]
    Loop {
        /// The way round, with rule names.
        circle: String,
    },
    /// It and another send both ways between interfaces without a bound on how often.
    #[error(
        "loop wherever these interfaces are connected: {circle}: add ttl=decrement to every output on the way, \
         here {outputs}"
    )]
    Opposite {
        /// The way round, with rule names.
        circle: String,
        /// The outputs that lack the option, with rule names.
        outputs: String,
    },
    /// More than [`RULES_MAX`] rules.
    #[error("there are more than {RULES_MAX} rules: run another relay for the rest")]
    TooMany,
}

/// A refusal and the place it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetFault {
    /// The rule's place in the list that was given, from 0.
    pub rule: usize,
    /// The part of it.
    pub part: RulePart,
    /// What is wrong.
    pub error: SetError,
}

/// What turns one set into another, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diff {
    /// Only in the new set.
    pub add: Vec<RuleName>,
    /// Only in the old set.
    pub remove: Vec<RuleName>,
    /// In both, with another input, output or engine.
    pub change: Vec<RuleName>,
    /// In both and equal.
    pub keep: Vec<RuleName>,
}

/// Rules in the order they were added, unique by name, fit to run together.
#[derive(Debug, Clone, Default)]
pub struct RuleSet {
    /// By the number each got when it was added.
    rules: BTreeMap<u64, Rule>,
    next: u64,
    names: HashMap<RuleName, u64>,
    inputs: HashMap<Flow, u64>,
    addresses: HashMap<IpAddr, Vec<u64>>,
}

impl RuleSet {
    /// An empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// A set of these rules, in their order.
    ///
    /// # Errors
    /// Everything that is wrong with them; never empty.
    pub fn from_rules(rules: Vec<Rule>) -> Result<Self, Vec<SetFault>> {
        let mut faults = Vec::new();
        if rules.len() > RULES_MAX {
            faults.push(SetFault { rule: RULES_MAX, part: RulePart::Name, error: SetError::TooMany });
            return Err(faults);
        }
        let mut set = Self::new();
        for (place, rule) in rules.into_iter().enumerate() {
            let fault = |(part, error)| SetFault { rule: place, part, error };
            let own = rule.faults().into_iter().map(|(part, error)| {
                fault((part, SetError::Rule { name: rule.name.clone(), error: Box::new(error) }))
            });
            faults.extend(own.chain(set.collisions(&rule).into_iter().map(fault)));
            // A faulty one goes in too where it can: later ones are then measured against it as well.
            set.insert(place as u64, rule);
        }
        let faulty: HashSet<usize> = faults.iter().map(|fault| fault.rule).collect();
        let sound = set.rules.values().enumerate().filter(|(place, _)| !faulty.contains(place));
        let (places, rules): (Vec<usize>, Vec<&Rule>) = sound.unzip();
        faults.extend(circles(&rules).iter().map(|circle| SetFault {
            rule: places[circle.hops[0].rule],
            part: RulePart::Output(circle.hops[0].leg),
            error: describe(&rules, circle),
        }));
        if faults.is_empty() { Ok(set) } else { Err(faults) }
    }

    /// Adds a rule at the end.
    ///
    /// # Errors
    /// The first thing that is wrong with it; the set is as it was.
    pub fn add(&mut self, rule: Rule) -> Result<(), SetError> {
        if self.rules.len() >= RULES_MAX {
            return Err(SetError::TooMany);
        }
        let number = self.next;
        self.admit(number, rule)
    }

    /// Puts a rule in the place of the one of its name, which it returns; adds it if there is none.
    ///
    /// # Errors
    /// The first thing that is wrong with the new rule; the set is as it was.
    pub fn replace(&mut self, rule: Rule) -> Result<Option<Rule>, SetError> {
        let Some(&number) = self.names.get(&rule.name) else {
            return self.add(rule).map(|()| None);
        };
        let old = self.take(number);
        let admitted = self.admit(number, rule);
        if let (Err(_), Some(old)) = (&admitted, &old) {
            self.insert(number, old.clone());
        }
        admitted.map(|()| old)
    }

    /// Removes the rule of this name and returns it.
    pub fn remove(&mut self, name: &RuleName) -> Option<Rule> {
        let number = *self.names.get(name)?;
        self.take(number)
    }

    /// The rule of this name.
    pub fn get(&self, name: &RuleName) -> Option<&Rule> {
        self.rules.get(self.names.get(name)?)
    }

    /// The rules, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Rule> + Clone {
        self.rules.values()
    }

    /// How many rules there are.
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// Whether there is no rule.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// What turns this set into `new`. The order of rules does not count.
    pub fn plan(&self, new: &Self) -> Diff {
        let mut diff = Diff::default();
        for rule in new.iter() {
            let list = match self.get(&rule.name) {
                None => &mut diff.add,
                Some(old) if old == rule => &mut diff.keep,
                Some(_) => &mut diff.change,
            };
            list.push(rule.name.clone());
        }
        let gone = self.iter().filter(|rule| new.get(&rule.name).is_none());
        diff.remove = gone.map(|rule| rule.name.clone()).collect();
        diff
    }

    fn admit(&mut self, number: u64, rule: Rule) -> Result<(), SetError> {
        rule.check().map_err(|error| SetError::Rule { name: rule.name.clone(), error: Box::new(error) })?;
        if let Some((_, error)) = self.collisions(&rule).into_iter().next() {
            return Err(error);
        }
        self.insert(number, rule);
        let error = self.loop_through(number);
        match error {
            Some(error) => {
                self.take(number);
                Err(error)
            }
            None => Ok(()),
        }
    }

    /// Names and inputs that are others' already.
    fn collisions(&self, rule: &Rule) -> Vec<(RulePart, SetError)> {
        let mut collisions = Vec::new();
        if self.names.contains_key(&rule.name) {
            collisions.push((RulePart::Name, SetError::NameTaken(rule.name.clone())));
        }
        if let Some(other) = self.inputs.get(&rule.input).and_then(|number| self.rules.get(number)) {
            let (name, other, input) = (rule.name.clone(), other.name.clone(), Box::new(rule.input.clone()));
            collisions.push((RulePart::Input, SetError::InputTaken { name, other, input }));
        }
        collisions
    }

    /// The loop that a new rule closes. Only rules on addresses it leads to can take part.
    fn loop_through(&self, number: u64) -> Option<SetError> {
        let new = self.rules.get(&number)?;
        let mut reached: HashSet<IpAddr> = HashSet::new();
        let mut part: Vec<&Rule> = Vec::new();
        let mut open: Vec<IpAddr> = new.outputs.iter().map(|leg| leg.address).collect();
        while let Some(address) = open.pop() {
            if !reached.insert(address) {
                continue;
            }
            let numbers = self.addresses.get(&address).into_iter().flatten();
            for rule in numbers.filter_map(|number| self.rules.get(number)) {
                open.extend(rule.outputs.iter().map(|leg| leg.address));
                part.push(rule);
            }
        }
        if !reached.contains(&new.input.address) {
            return None;
        }
        circles(&part).first().map(|circle| describe(&part, circle))
    }

    /// Puts a rule in; where its name or input is taken, that entry stays the first's.
    fn insert(&mut self, number: u64, rule: Rule) {
        self.next = self.next.max(number + 1);
        self.names.entry(rule.name.clone()).or_insert(number);
        self.inputs.entry(rule.input.clone()).or_insert(number);
        self.addresses.entry(rule.input.address).or_default().push(number);
        self.rules.insert(number, rule);
    }

    fn take(&mut self, number: u64) -> Option<Rule> {
        let rule = self.rules.remove(&number)?;
        self.names.remove(&rule.name);
        self.inputs.remove(&rule.input);
        if let Some(numbers) = self.addresses.get_mut(&rule.input.address) {
            numbers.retain(|&other| other != number);
            if numbers.is_empty() {
                self.addresses.remove(&rule.input.address);
            }
        }
        Some(rule)
    }
}

impl PartialEq for RuleSet {
    /// Equal rules in equal order.
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for RuleSet {}

/// A circle in words: `a -> 239.2.2.2%eth0:5000 -> b -> 239.1.1.1%eth0:5000 -> a`.
fn describe(rules: &[&Rule], circle: &Circle) -> SetError {
    let name = |place: usize| &rules[circle.hops[place % circle.hops.len()].rule].name;
    let mut way = name(0).to_string();
    let mut undecremented = Vec::new();
    for (place, hop) in circle.hops.iter().enumerate() {
        let leg = &rules[hop.rule].outputs[hop.leg];
        way.push_str(&format!(" -> {} -> {}", leg.endpoint(), name(place + 1)));
        if leg.ttl != crate::Ttl::Decrement {
            undecremented.push(format!("{leg} of rule {}", name(place)));
        }
    }
    if circle.decrement_helps {
        SetError::Opposite { circle: way, outputs: undecremented.join(" and ") }
    } else {
        SetError::Loop { circle: way }
    }
}
