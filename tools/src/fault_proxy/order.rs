//! What the proxy is told, and the state that the links follow.

use core::str::FromStr;
use core::time::Duration;

/// How connections are ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Closed in order, both directions.
    Drop,
    /// With RST.
    Reset,
    /// Only towards the client.
    HalfClose,
}

/// One line of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Pass,
    Delay(Duration),
    Blackhole,
    Cut(Cut),
    Refuse,
    Stats,
}

impl FromStr for Order {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        let mut words = line.split_whitespace();
        let order = match words.next().unwrap_or_default() {
            "pass" => Self::Pass,
            "delay" => {
                let text = words.next().ok_or("delay needs a duration, such as 50ms")?;
                let delay = humantime::parse_duration(text).map_err(|error| error.to_string())?;
                Self::Delay(delay)
            }
            "blackhole" => Self::Blackhole,
            "half-close" => Self::Cut(Cut::HalfClose),
            "drop" => Self::Cut(Cut::Drop),
            "reset" => Self::Cut(Cut::Reset),
            "refuse" => Self::Refuse,
            "stats" => Self::Stats,
            other => return Err(format!("no order '{other}': see --help")),
        };
        match words.next() {
            None => Ok(order),
            Some(more) => Err(format!("'{more}' is too much")),
        }
    }
}

/// What the links follow.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct State {
    /// Nothing is forwarded.
    pub(crate) is_blackhole: bool,
    /// New connections are closed at once.
    pub(crate) refuses: bool,
    /// How much later bytes go on.
    pub(crate) delay: Duration,
    /// The newest order to end connections, and how many there have been.
    pub(crate) cut: Option<Cut>,
    pub(crate) cuts: u64,
}

impl State {
    /// Does what is asked.
    pub(crate) const fn follow(&mut self, order: Order) {
        match order {
            Order::Pass => {
                self.is_blackhole = false;
                self.refuses = false;
            }
            Order::Delay(delay) => self.delay = delay,
            Order::Blackhole => self.is_blackhole = true,
            Order::Cut(cut) => {
                self.cut = Some(cut);
                self.cuts += 1;
            }
            Order::Refuse => self.refuses = true,
            Order::Stats => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_read_as_the_help_says() {
        assert_eq!("pass".parse(), Ok(Order::Pass));
        let delay = Order::Delay(Duration::from_millis(50));
        assert_eq!("delay 50ms".parse(), Ok(delay));
        assert_eq!("half-close".parse(), Ok(Order::Cut(Cut::HalfClose)));
        for bad in ["", "delay", "delay x", "pass now", "explode"] {
            assert!(bad.parse::<Order>().is_err(), "{bad}");
        }
    }
}
