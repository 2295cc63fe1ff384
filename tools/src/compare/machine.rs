//! What is measured on: stands at the head of every report.

use std::fs;
use std::process::Command;

use serde::Serialize;

/// Machine, date and versions.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    pub(crate) kernel: String,
    /// Coordinated universal time.
    pub(crate) date: String,
    pub(crate) profile: &'static str,
    /// What `nats-server -v` says; empty when none takes part.
    pub(crate) nats_server: String,
    pub(crate) command: String,
}

impl Machine {
    pub(crate) fn look(nats_server: Option<&str>) -> Self {
        let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        Self {
            cpu: model(&cpus),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            kernel: kernel.trim().to_owned(),
            date: said_by("date", &["-u", "+%Y-%m-%d %H:%M UTC"]),
            profile: if cfg!(debug_assertions) {
                "debug"
            } else {
                "release"
            },
            nats_server: nats_server.map_or_else(String::new, |program| said_by(program, &["-v"])),
            command: format!("compare {}", arguments.join(" ")),
        }
    }

    /// Two lines for people.
    pub(crate) fn text(&self) -> String {
        let server = match self.nats_server.as_str() {
            "" => String::new(),
            version => format!(", {version}"),
        };
        format!(
            "{}\n{}, {} cores, Linux {}, {} build{server}, {}",
            self.command, self.cpu, self.cores, self.kernel, self.profile, self.date
        )
    }
}

/// The first model name of `/proc/cpuinfo`.
fn model(cpus: &str) -> String {
    let line = cpus.lines().find(|line| line.starts_with("model name"));
    line.and_then(|line| line.split_once(':'))
        .map_or("unknown processor", |(_, name)| name.trim())
        .to_owned()
}

fn said_by(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    output.map_or_else(
        |_| "unknown".to_owned(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_is_the_first_one() {
        let text = "processor\t: 0\nmodel name\t: AMD EPYC\nmodel name\t: other\n";
        assert_eq!(model(text), "AMD EPYC");
        assert_eq!(model(""), "unknown processor");
    }
}
