//! The soak: a workload on a broker under one fault after the other.

use std::collections::BTreeMap;
use std::time::Duration;

use fastrand::Rng;
use mooq::Channel;
use tokio::time::{Instant, sleep};

use super::channel_errors::{ChannelError, Provocation};
use super::record::Duplicates;
use super::site::{Fault, Site};
use super::verdict::Verdict;
use super::workload::{Plan, Workload};

/// The deadline of every call.
const DEADLINE: Duration = Duration::from_secs(5);

/// Heartbeat interval, shorter than some of the pauses and freezes, and longer than others.
const HEARTBEAT: Duration = Duration::from_secs(2);

/// Shortest and longest fault.
const LASTING: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(8)];

/// Shortest and longest rest after a fault.
const REST: [Duration; 2] = [Duration::ZERO, Duration::from_secs(4)];

/// Time limit until publishes are confirmed again. Only a client that never recovers reaches it.
const RECOVERED: Duration = Duration::from_secs(60);

/// Interval of progress reports.
const TOLD: Duration = Duration::from_secs(60);

/// A fault or channel error that strikes.
#[derive(Debug, Clone, Copy)]
enum Strike {
    Fault(Fault),
    Channel(ChannelError),
}

/// Number of strikes, and the slowest recovery.
#[derive(Debug, Default)]
struct Toll {
    times: u64,
    slowest: Duration,
}

/// Result of a soak.
#[derive(Debug)]
pub struct Soaked {
    seed: u64,
    began: Instant,
    lasted: Duration,
    verdict: Verdict,
    tolls: BTreeMap<String, Toll>,
}

/// Runs a workload on `site` under faults for `lasting`, chosen by `seed`.
pub async fn soak(site: &Site, lasting: Duration, seed: u64) -> Soaked {
    let began = Instant::now();
    let mut random = Rng::with_seed(seed);
    let options = site.options().heartbeat(HEARTBEAT);
    let workload = Workload::begin(Plan::new("soak", options, DEADLINE)).await;
    let provocation = Provocation::prepare(&workload, site).await;
    let mut strikes: Vec<_> = Fault::ALL.map(Strike::Fault).into();
    strikes.extend(ChannelError::ALL.map(Strike::Channel));

    let mut tolls = BTreeMap::<String, Toll>::new();
    let mut failures = Vec::new();
    let mut told = began;
    while began.elapsed() < lasting && failures.is_empty() {
        if let Err(stuck) = workload.flows().await {
            failures.push(stuck);
            break;
        }
        workload.record().prune();
        let strike = strikes[random.usize(..strikes.len())];
        println!("{:>8.1?}: {strike:?}", began.elapsed());
        let (name, recovery) = match strike {
            Strike::Fault(fault) => {
                let lasts = between(&mut random, LASTING);
                let recovery = strike_site(site, &workload, fault, lasts).await;
                (format!("{fault:?}"), recovery)
            }
            Strike::Channel(error) => {
                let channels = workload.channels();
                let chan = &channels[random.usize(..channels.len())];
                let recovery = close_channel(&provocation, &workload, chan, error).await;
                (format!("Channel{error:?}"), recovery)
            }
        };
        match recovery {
            Some(recovery) => {
                let toll = tolls.entry(name).or_default();
                toll.times += 1;
                toll.slowest = toll.slowest.max(recovery);
            }
            None => failures.push(format!("no publish is confirmed after {name}")),
        }
        sleep(between(&mut random, REST)).await;
        if told.elapsed() >= TOLD {
            told = Instant::now();
            let counts = workload.record().counts();
            println!("after {:?}: {counts:?}", began.elapsed());
        }
    }
    provocation.close().await;
    let mut verdict = workload.finish().await;
    verdict.failures.extend(failures);
    Soaked {
        seed,
        began,
        lasted: began.elapsed(),
        verdict,
        tolls,
    }
}

/// A random time between these two, in whole milliseconds.
fn between(random: &mut Rng, [least, most]: [Duration; 2]) -> Duration {
    let [least, most] = [least, most].map(|time| time.as_millis() as u64);
    Duration::from_millis(random.u64(least..=most))
}

/// Strikes the broker. Returns the time from its first answer to the first confirm.
async fn strike_site(
    site: &Site,
    workload: &Workload,
    fault: Fault,
    lasts: Duration,
) -> Option<Duration> {
    let struck = site.strike(fault).await;
    sleep(lasts).await;
    let first = workload.record().first_confirm(Instant::now(), RECOVERED);
    let (answering, confirmed) = tokio::join!(struck.mend(), first);
    Some(confirmed?.saturating_duration_since(answering))
}

/// Closes a channel. Returns the time from the close to the first confirm.
async fn close_channel(
    provocation: &Provocation,
    workload: &Workload,
    chan: &Channel,
    error: ChannelError,
) -> Option<Duration> {
    provocation.provoke(workload, chan, error).await;
    let closed = Instant::now();
    let confirmed = workload.record().first_confirm(closed, RECOVERED).await?;
    Some(confirmed - closed)
}

impl Soaked {
    /// Returns true if no message was lost, and no call overdue.
    #[must_use]
    pub fn is_good(&self) -> bool {
        let Verdict {
            lost,
            failures,
            duplicates,
            timing,
            ..
        } = &self.verdict;
        lost.is_empty()
            && failures.is_empty()
            && duplicates.unexplained == 0
            && timing.overdue().is_empty()
    }

    /// Prints the result.
    pub fn print(&self) {
        let verdict = &self.verdict;
        let (counts, timing) = (verdict.counts, &verdict.timing);
        let Duplicates {
            redelivered,
            resent,
            unexplained,
        } = verdict.duplicates;
        let overdue = timing.overdue();
        println!("seed            {}", self.seed);
        println!("lasted          {:.0?}", self.lasted);
        println!("published       {}", counts.published);
        println!("confirmed       {}", counts.confirmed);
        println!("unknown         {}", counts.unknown);
        println!("refused         {}", counts.refused);
        println!("received        {}", counts.received);
        println!("duplicates      {}", redelivered + resent + unexplained);
        println!("  redelivered   {redelivered}");
        println!("  sent again    {resent}");
        println!("  unexplained   {unexplained}");
        println!("lost            {}", verdict.lost.len());
        println!("calls           {}", timing.calls());
        println!("  overdue       {}", overdue.len());
        println!("  held up       {:?} at most", timing.longest_hold_up());
        println!(
            "faults          {}",
            self.tolls.values().map(|toll| toll.times).sum::<u64>()
        );
        for (name, Toll { times, slowest }) in &self.tolls {
            println!("  {name:<26}{times:>5}, slowest recovery {slowest:.0?}");
        }
        let slowest = self.tolls.values().map(|toll| toll.slowest).max();
        println!("slowest recovery {:.0?}", slowest.unwrap_or_default());
        for call in overdue {
            let (due, ended) = call.due_and_ended();
            println!(
                "overdue: {} of {:?} ended after {:?}, {:.1?} from the beginning; held up for {:?} of it",
                call.what,
                call.limit,
                call.took(),
                ended - self.began,
                timing.held_up(due, ended)
            );
        }
        for number in &verdict.lost {
            println!("lost: message {number}");
        }
        for failure in &verdict.failures {
            println!("failed: {failure}");
        }
    }
}
