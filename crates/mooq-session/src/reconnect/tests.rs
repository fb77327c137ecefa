//! The machine's way from lost to restored, without a broker.

use super::*;

const MS: Duration = Duration::from_millis(1);

fn machine(policy: Recovery, hosts: usize) -> (Reconnect, Instant) {
    let now = Instant::now();
    (Reconnect::connected(policy, hosts, 0, now, 7), now)
}

fn wait(action: Action) -> Duration {
    match action {
        Action::Wait(delay) => delay,
        other => panic!("it does not wait: {other:?}"),
    }
}

#[test]
fn lost_waited_opened_restored() {
    let (mut machine, now) = machine(Recovery::new(), 1);
    wait(machine.next(Input::Lost, now));
    assert_eq!(machine.next(Input::Waited, now), Action::Open(0));
    assert_eq!(machine.next(Input::Opened, now), Action::Restore);
    assert_eq!(machine.next(Input::Restored, now), Action::Watch);
}

#[test]
fn waits_double_up_to_the_longest_and_are_shortened_by_at_most_half() {
    let policy = Recovery::new().first_delay(50 * MS).max_delay(500 * MS);
    let (mut machine, now) = machine(policy, 1);
    let mut delay = wait(machine.next(Input::Lost, now));
    for full in [50, 100, 200, 400, 500, 500, 500] {
        let full = full * MS;
        assert!(delay <= full && delay >= full / 2, "{delay:?} of {full:?}");
        assert_eq!(machine.next(Input::Waited, now), Action::Open(0));
        delay = wait(machine.next(Input::Failed, now));
    }
    assert_eq!(machine.attempts(), 8);
}

#[test]
fn many_clients_do_not_wait_alike() {
    let now = Instant::now();
    let delays = (0..100).map(|seed| {
        let mut machine = Reconnect::connected(Recovery::new(), 1, 0, now, seed);
        wait(machine.next(Input::Lost, now))
    });
    let distinct: std::collections::HashSet<_> = delays.collect();
    assert!(distinct.len() > 90, "{} of 100", distinct.len());
}

#[test]
fn every_host_is_tried_before_the_next_wait_beginning_with_the_last_good_one() {
    let now = Instant::now();
    let mut machine = Reconnect::connected(Recovery::new(), 3, 1, now, 7);
    wait(machine.next(Input::Lost, now));
    assert_eq!(machine.next(Input::Waited, now), Action::Open(1));
    assert_eq!(machine.next(Input::Failed, now), Action::Open(2));
    assert_eq!(machine.next(Input::Failed, now), Action::Open(0));
    wait(machine.next(Input::Failed, now));
    assert_eq!(machine.next(Input::Waited, now), Action::Open(1));
}

#[test]
fn a_failed_restoration_is_a_failed_attempt() {
    let (mut machine, now) = machine(Recovery::new(), 1);
    let first = wait(machine.next(Input::Lost, now));
    machine.next(Input::Waited, now);
    machine.next(Input::Opened, now);
    let second = wait(machine.next(Input::Failed, now));
    assert!(second >= first.min(50 * MS), "{first:?}, {second:?}");
    assert_eq!(machine.attempts(), 2);
    assert_eq!(machine.next(Input::Waited, now), Action::Open(0));
}

#[test]
fn a_host_on_which_nothing_can_be_restored_is_not_tried_for_ever() {
    let (mut machine, now) = machine(Recovery::new(), 2);
    wait(machine.next(Input::Lost, now));
    for host in [0, 1, 0] {
        assert_eq!(machine.next(Input::Waited, now), Action::Open(host));
        assert_eq!(machine.next(Input::Opened, now), Action::Restore);
        wait(machine.next(Input::Failed, now));
    }
}

#[test]
fn one_that_is_lost_at_once_again_waits_longer_and_one_that_held_begins_anew() {
    let policy = Recovery::new().first_delay(50 * MS).max_delay(500 * MS);
    let (mut machine, mut now) = machine(policy, 1);
    let mut lose = |after: Duration| {
        now += after;
        let delay = wait(machine.next(Input::Lost, now));
        machine.next(Input::Waited, now);
        machine.next(Input::Opened, now);
        machine.next(Input::Restored, now);
        delay
    };
    assert!(lose(Duration::from_secs(60)) <= 50 * MS);
    assert!(lose(MS) >= 50 * MS);
    assert!(lose(MS) >= 100 * MS);
    assert!(lose(Duration::from_secs(1)) >= 200 * MS);
    assert!(lose(STABLE_AFTER + MS) <= 50 * MS);
}

#[test]
fn it_gives_up_when_its_time_is_over_and_never_waits_beyond() {
    let limit = Duration::from_secs(1);
    let (mut machine, lost_at) = machine(Recovery::new().give_up_after(limit), 1);
    let mut now = lost_at;
    let mut action = machine.next(Input::Lost, now);
    while let Action::Wait(delay) = action {
        now += delay;
        assert!(now - lost_at <= limit);
        assert_eq!(machine.next(Input::Waited, now), Action::Open(0));
        action = machine.next(Input::Failed, now);
    }
    assert_eq!(action, Action::GiveUp);
    assert_eq!(now - lost_at, limit);
    assert_eq!(machine.next(Input::Waited, now), Action::GiveUp);
}
