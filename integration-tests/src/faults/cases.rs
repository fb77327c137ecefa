//! Cases with one fault that strikes a workload once.

use std::time::Duration;

use futures_util::future::BoxFuture;
use mooq::{ErrorKind, Event};
use tokio::time::Instant;

use super::channel_errors::channels_closed_403_404_405_406;
use super::cluster::cluster_leader_killed;
use super::endurance::{
    futures_dropped_at_random, handles_dropped_without_closing,
    thousands_of_channels_closed_by_the_broker,
};
use super::queue_deletion::queue_deleted_under_its_consumers;
use super::site::{Fault, Site};
use super::workload::{Plan, Workload};
use mooq_conformance::expect::LIMIT;

/// Deadline of every call, so short that some calls end before a fault does.
pub(super) const DEADLINE: Duration = Duration::from_secs(3);

/// Deadline for cases in which no call is to reach it.
pub(super) const PATIENCE: Duration = LIMIT;

/// Heartbeat interval so long that a busy machine loses no connection.
const HEARTBEAT: Duration = Duration::from_secs(60);

/// Heartbeat interval so short that a frozen broker is given up soon.
const SHORT_HEARTBEAT: Duration = Duration::from_secs(2);

/// Number of reconnect attempts that may fail once the broker answers: one that began before, and
/// one that failed before and is reported late.
pub(super) const LATE_FAILURES: usize = 2;

/// Time limit for a fault to take effect, and to end. Only a fault that never does reaches it.
const FELT: Duration = LIMIT;

/// Number of publishes that fail or succeed before a fault counts as felt.
const SOME: u64 = 20;

/// A case: its name, and a test on a broker. It fails by panicking.
#[derive(Clone, Copy)]
pub struct Case {
    /// Name of the case and its fault.
    pub name: &'static str,
    /// Brokers that the case runs on.
    pub on: On,
    /// The test.
    pub run: for<'a> fn(&'a Site, &'static str) -> BoxFuture<'a, ()>,
}

/// Brokers that a case runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum On {
    /// The in-memory broker and RabbitMQ.
    Both,
    /// RabbitMQ alone: the in-memory broker has no such fault.
    RabbitMq,
}

/// Every case.
#[must_use]
pub fn all() -> Vec<Case> {
    macro_rules! cases {
        ($($name:ident: $fault:ident,)+) => { vec![$(Case {
            name: stringify!($name),
            on: On::Both,
            run: |site, name| Box::pin(survives(site, name, Fault::$fault)),
        }),+] };
    }
    let mut all = cases! {
        killed: Killed,
        stopped_and_started: Stopped,
        paused: Paused,
        network_cut: NetworkCut,
        network_frozen: NetworkFrozen,
        network_slow: NetworkSlow,
        connections_closed_by_rabbitmqctl: ConnectionsClosed,
        memory_alarm: MemoryAlarm,
        disk_alarm: DiskAlarm,
        password_changed_and_changed_back: PasswordChanged,
    };
    all.extend([
        Case {
            name: "channels_closed_403_404_405_406",
            on: On::Both,
            run: |site, name| Box::pin(channels_closed_403_404_405_406(site, name)),
        },
        Case {
            name: "queue_deleted_under_its_consumers",
            on: On::Both,
            run: |site, name| Box::pin(queue_deleted_under_its_consumers(site, name)),
        },
        Case {
            name: "thousands_of_channels_closed_by_the_broker",
            on: On::Both,
            run: |site, name| Box::pin(thousands_of_channels_closed_by_the_broker(site, name)),
        },
        Case {
            name: "futures_dropped_at_random",
            on: On::Both,
            run: |site, name| Box::pin(futures_dropped_at_random(site, name)),
        },
        Case {
            name: "handles_dropped_without_closing",
            on: On::Both,
            run: |site, name| Box::pin(handles_dropped_without_closing(site, name)),
        },
        Case {
            name: "cluster_leader_killed",
            on: On::RabbitMq,
            run: |_, name| Box::pin(cluster_leader_killed(name)),
        },
    ]);
    all
}

/// Starts a workload on `site`, and waits until it flows.
pub(super) async fn flowing(site: &Site, name: &str) -> Workload {
    flowing_with(site, name, HEARTBEAT, PATIENCE).await
}

/// Starts a workload with this heartbeat and this deadline of its calls.
async fn flowing_with(
    site: &Site,
    name: &str,
    heartbeat: Duration,
    deadline: Duration,
) -> Workload {
    let options = site.options().heartbeat(heartbeat);
    let workload = Workload::begin(Plan::new(name, options, deadline)).await;
    workload.flows().await.expect("the workload is at work");
    workload
}

/// Ends a workload that flows, prints its verdict, and asserts that it is good.
pub(super) async fn ends_well(workload: Workload, name: &str, site: &Site) {
    workload.flows().await.expect("the workload is at work");
    let verdict = workload.finish().await;
    println!("{} on {}: {verdict}", name, site.kind());
    verdict.assert();
}

async fn survives(site: &Site, name: &str, fault: Fault) {
    let heartbeat = match fault {
        Fault::Paused | Fault::NetworkFrozen => SHORT_HEARTBEAT,
        _ => HEARTBEAT,
    };
    let workload = flowing_with(site, name, heartbeat, DEADLINE).await;
    let mark = workload.journal().mark();
    let struck = site.strike(fault).await;
    let lost = felt(&workload, mark, fault, site).await;

    let mending = Instant::now();
    // Confirms come during faults that interrupt nothing, and again after the others.
    let begin = lost.filter(|_| fault == Fault::ConnectionsClosed);
    let first = workload
        .record()
        .first_confirm(begin.unwrap_or(mending), FELT);
    let (answering, confirmed) = tokio::join!(struck.mend(), first);
    let confirmed = confirmed.expect("publishes are confirmed again");
    let answering = begin.unwrap_or(answering);
    let took = confirmed.saturating_duration_since(answering);
    println!("{name} on {}: first confirm after {took:?}", site.kind());
    // The time depends on the machine, but the number of attempts does not.
    comes_back_at_once(&workload, answering, confirmed, LATE_FAILURES);

    ends_well(workload, name, site).await;
}

/// Asserts that the next attempt reaches a broker which answers: between its first answer and the
/// first confirm hardly any fails. The delays between attempts are the client's own, half a second
/// at most.
pub(super) fn comes_back_at_once(
    workload: &Workload,
    answering: Instant,
    confirmed: Instant,
    most_failures: usize,
) {
    let journal = workload.journal().since(0);
    for of in ["publishing", "consuming"] {
        let late = journal.iter().filter(|entry| {
            entry.of == of
                && matches!(entry.event, Event::AttemptFailed(_))
                && (answering..confirmed).contains(&entry.at)
        });
        let late: Vec<_> = late.collect();
        assert!(late.len() <= most_failures, "the broker answers: {late:?}");
    }
}

/// Waits until `fault` is felt. Returns the time of the last lost connection, if the fault loses
/// any.
async fn felt(workload: &Workload, mark: usize, fault: Fault, site: &Site) -> Option<Instant> {
    match fault {
        Fault::Killed | Fault::Stopped | Fault::NetworkCut | Fault::ConnectionsClosed => {
            Some(lost(workload, mark).await)
        }
        // Only RabbitMQ can miss heartbeats.
        Fault::Paused | Fault::NetworkFrozen if site.is_rabbitmq() => {
            Some(lost(workload, mark).await)
        }
        Fault::Paused | Fault::NetworkFrozen | Fault::MemoryAlarm | Fault::DiskAlarm => {
            more(workload, |counts| counts.unknown).await;
            None
        }
        Fault::NetworkSlow => {
            more(workload, |counts| counts.confirmed).await;
            None
        }
        Fault::PasswordChanged => {
            let at = lost(workload, mark).await;
            let refused = workload.journal().first(mark, FELT, |entry| {
                matches!(&entry.event, Event::AttemptFailed(err)
                    if err.kind() == ErrorKind::AuthenticationFailed)
            });
            refused.await.expect("the old password is refused");
            Some(at)
        }
    }
}

/// Waits until both connections are lost, and returns the time.
async fn lost(workload: &Workload, mark: usize) -> Instant {
    let mut last = None;
    for of in ["publishing", "consuming"] {
        let lost = workload.journal().first(mark, FELT, |entry| {
            entry.of == of && matches!(entry.event, Event::Lost(_))
        });
        let lost = lost
            .await
            .unwrap_or_else(|| panic!("the {of} connection is lost"));
        last = last.max(Some(lost.at));
    }
    last.expect("two connections are lost")
}

/// Waits until a count has grown.
async fn more(workload: &Workload, count: impl Fn(&super::record::Counts) -> u64) {
    let before = count(&workload.record().counts());
    let grown = workload
        .record()
        .until(FELT, |counts| count(counts) >= before + SOME);
    grown.await.expect("the fault is felt");
}
