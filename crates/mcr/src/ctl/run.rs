//! Each verb: what it checks, what it asks, what it prints.

use std::fmt::Display;
use std::io::IsTerminal;
use std::path::Path;

use hyper::Method;
use hyper::body::Bytes;
use mcast::{NameError, Rule, RuleName};
use serde::Serialize;

use super::args::{Cli, Verb};
use super::client::{Client, document};
use super::{CtlError, doctor, file, screen};
use crate::api::model::{Diagnosis, LogLevel, Plan, RuleStatus, Stats, Version, WorkerStats};
use crate::supervisor::handle::Refusal;

/// What `save FILE --json` prints.
#[derive(Serialize)]
struct Saved {
    /// The file written.
    saved: String,
    /// Its length.
    bytes: usize,
}

/// What goes to standard output, and whether it is bad news.
pub(super) struct Answer {
    pub(super) text: String,
    /// A check failed: exit code 1.
    pub(super) fails: bool,
}

/// Carries the verb out.
pub(super) async fn run(cli: &Cli) -> Result<Answer, CtlError> {
    let session = Session { client: Client::new(&cli.socket), json: cli.json };
    let text = match &cli.verb {
        Verb::Doctor { name, listen } => return session.doctor(name.as_deref(), *listen).await,
        Verb::Add { name, input, outputs, engine, replace } => {
            session.add(&rule(name, input, outputs, engine)?, *replace).await
        }
        Verb::Remove { name } => session.remove(name).await,
        Verb::List => {
            session.shown("/v1/rules", |rules: &Vec<RuleStatus>| screen::list(rules, width())).await
        }
        Verb::Show { name } => {
            let name = rule_name(name)?;
            session.shown(&format!("/v1/rules/{name}"), screen::show).await
        }
        Verb::Stats { name: None } => {
            session.shown("/v1/stats", |stats: &Stats| screen::stats(stats, width())).await
        }
        Verb::Stats { name: Some(name) } => session.rule_stats(name).await,
        Verb::Workers => {
            let screen = |workers: &Vec<WorkerStats>| screen::workers(workers, width());
            session.shown("/v1/workers", screen).await
        }
        Verb::Apply { file, dry_run } => session.apply(file, *dry_run).await,
        Verb::Save { file } => session.save(file).await,
        Verb::LogLevel { directives } => session.log_level(directives.as_deref()).await,
        Verb::Ping => session.shown("/v1/ping", |v: &Version| format!("{} answers\n", daemon(v))).await,
        Verb::Version => {
            let own = env!("CARGO_PKG_VERSION");
            session.shown("/v1/version", |v: &Version| format!("mcrctl {own}\n{}\n", daemon(v))).await
        }
    };
    text.map(|text| Answer { text, fails: false })
}

fn daemon(version: &Version) -> String {
    format!("mcrd {} (pid {})", version.version, version.pid)
}

/// The terminal's width, absent where standard output is none: what a script reads is never cut.
fn width() -> Option<usize> {
    let out = std::io::stdout();
    if !out.is_terminal() {
        return None;
    }
    let size = rustix::termios::tcgetwinsize(out).ok()?;
    Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
}

/// The rule on the command line, checked as far as that needs no daemon.
fn rule(name: &str, input: &str, outputs: &[String], engine: &str) -> Result<Rule, CtlError> {
    let refused = |what: &str, e: &dyn Display| CtlError::Refused(format!("rule {name}: {what}{e}"));
    let leg = |text: &String| text.parse().map_err(|e| refused(&format!("output {text}: "), &e));
    let rule = Rule {
        name: rule_name(name)?,
        input: input.parse().map_err(|e| refused(&format!("input {input}: "), &e))?,
        outputs: outputs.iter().map(leg).collect::<Result<_, _>>()?,
        engine: engine.parse().map_err(|e| refused("", &e))?,
    };
    rule.check().map_err(|e| refused("", &e))?;
    Ok(rule)
}

fn rule_name(name: &str) -> Result<RuleName, CtlError> {
    name.parse().map_err(|e: NameError| CtlError::Refused(e.to_string()))
}

fn json(document: &impl Serialize) -> Result<Bytes, CtlError> {
    let text = serde_json::to_vec(document);
    text.map(Bytes::from).map_err(|e| CtlError::Refused(format!("the document is no JSON: {e}")))
}

/// A document as it is printed: the daemon's own bytes and a newline.
fn line(document: &[u8]) -> String {
    format!("{}\n", String::from_utf8_lossy(document).trim_end())
}

/// The refusal of a file, each of its lines with the file's name as compilers have it.
fn placed(file: &Path, refusal: &str) -> String {
    let name = if file::is_standard(file) { "standard input".to_owned() } else { file.display().to_string() };
    refusal.lines().map(|line| format!("{name}: {line}")).collect::<Vec<_>>().join("\n")
}

/// The daemon, and how its answers are printed.
struct Session {
    client: Client,
    json: bool,
}

impl Session {
    /// Prints the document at `path`: as it came, or as `screen` shows it.
    async fn shown<T: serde::de::DeserializeOwned>(
        &self,
        path: &str,
        screen: impl FnOnce(&T) -> String,
    ) -> Result<String, CtlError> {
        self.printed(&self.client.get(path).await?, screen)
    }

    fn printed<T: serde::de::DeserializeOwned>(
        &self,
        body: &[u8],
        screen: impl FnOnce(&T) -> String,
    ) -> Result<String, CtlError> {
        if self.json { Ok(line(body)) } else { Ok(screen(&document(body)?)) }
    }

    async fn add(&self, rule: &Rule, replace: bool) -> Result<String, CtlError> {
        let path = if replace { "/v1/rules?replace=true" } else { "/v1/rules" };
        let body = self.client.call(Method::POST, path, json(rule)?).await?;
        self.printed(&body, |status| screen::added(status, replace))
    }

    async fn remove(&self, name: &str) -> Result<String, CtlError> {
        let name = rule_name(name)?;
        let body = self.client.call(Method::DELETE, &format!("/v1/rules/{name}"), Bytes::new()).await?;
        if self.json { Ok(line(&body)) } else { Ok(format!("removed {name}\n")) }
    }

    async fn rule_stats(&self, name: &str) -> Result<String, CtlError> {
        let name = rule_name(name)?;
        let stats: Stats = document(&self.client.get("/v1/stats").await?)?;
        let Some(rule) = stats.rules.iter().find(|rule| rule.name == name.as_str()) else {
            return Err(CtlError::Refused(Refusal::NotFound(name).to_string()));
        };
        if self.json { Ok(line(&json(rule)?)) } else { Ok(screen::rule_stats(rule, width())) }
    }

    async fn doctor(&self, name: Option<&str>, listen: Option<f64>) -> Result<Answer, CtlError> {
        let mut path = "/v1/doctor".to_owned();
        if let Some(name) = name {
            path += &format!("/{}", rule_name(name)?);
        }
        if let Some(seconds) = listen {
            path += &format!("?listen={seconds}");
        }
        let body = self.client.get(&path).await?;
        let diagnosis: Diagnosis = document(&body)?;
        let text = if self.json { line(&body) } else { doctor::diagnosis(&diagnosis, name.is_some()) };
        Ok(Answer { text, fails: diagnosis.fails() })
    }

    async fn apply(&self, file: &Path, dry_run: bool) -> Result<String, CtlError> {
        let text = Bytes::from(file::read(file)?);
        let path = if dry_run { "/v1/apply?dry_run=true" } else { "/v1/apply" };
        let body = self.client.call(Method::POST, path, text).await.map_err(|e| match e {
            CtlError::Refused(e) => CtlError::Refused(placed(file, &e)),
            no_daemon @ CtlError::NoDaemon(_) => no_daemon,
        })?;
        self.printed(&body, |plan: &Plan| screen::plan(plan, dry_run))
    }

    async fn save(&self, file: &Path) -> Result<String, CtlError> {
        let text = self.client.get("/v1/file").await?;
        if file::is_standard(file) {
            return Ok(String::from_utf8_lossy(&text).into_owned());
        }
        file::write(file, &text)?;
        let saved = Saved { saved: file.display().to_string(), bytes: text.len() };
        if self.json { Ok(line(&json(&saved)?)) } else { Ok(format!("saved {}\n", saved.saved)) }
    }

    async fn log_level(&self, directives: Option<&str>) -> Result<String, CtlError> {
        let body = match directives {
            None => self.client.get("/v1/log-level").await?,
            Some(directives) => {
                let level = LogLevel { directives: directives.to_owned() };
                self.client.call(Method::PUT, "/v1/log-level", json(&level)?).await?
            }
        };
        self.printed(&body, |level: &LogLevel| format!("{}\n", level.directives))
    }
}
