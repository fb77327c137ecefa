//! Exchanges of a plan: declared, or replaced.

use mooq_core::{BindingDestination, ExchangeName};

use super::planner::Planner;
use super::step::Step;
use crate::broker::observed::Status;
use crate::names::keeping;
use crate::resource::Resource;
use crate::value::binding::Binding;
use crate::value::exchange::Exchange;

impl Planner<'_> {
    pub(super) fn exchange(&mut self, wanted: &Exchange) {
        let status = self.observed.exchange(wanted.name());
        let kept = keeping(wanted.name()).ok();
        let kept = kept.zip(self.inventory());
        let is_kept = kept.is_some_and(|(aid, inventory)| inventory.exchanges.contains_key(&aid));
        match (status, is_kept) {
            (Status::Same, false) => {}
            (Status::Missing, false) => {
                self.steps.push(Step::DeclareExchange(wanted.clone()));
            }
            _ => self.replace_exchange(wanted),
        }
    }

    /// Deletes an exchange and declares it again. Its bindings are kept at another exchange
    /// meanwhile, so that none is forgotten if the plan is cut off.
    fn replace_exchange(&mut self, wanted: &Exchange) {
        let name = wanted.name();
        let what = Resource::Exchange(name.clone());
        if self.may_replace(&what).is_none() {
            return;
        }
        if name.starts_with("amq.") {
            let why = "it is one of the broker's own";
            self.block(what, why, "choose another name");
            return;
        }
        let Ok(aid) = keeping(name) else {
            let why = "its name leaves no room for '.replacing'";
            self.block(what, why, "replace it by hand");
            return;
        };
        let is_different = matches!(self.observed.exchange(name), Status::Different(_));
        let is_own = |one: &&Binding| one.source() == name || one.exchange() == Some(name);
        let own: Vec<_> = self.present.iter().filter(is_own).cloned().collect();
        let loses = own.iter().any(|one| one.source() == name);
        if is_different && loses && !self.options.allow_message_loss {
            let why = "what is published to it is dropped while it has no bindings";
            let remedy = "stop the publishers and call `allow_message_loss`";
            self.block(what, why, remedy);
            return;
        }
        let is_aids = |one: &&Binding| *one.source() == aid || one.exchange() == Some(&aid);
        let kept: Vec<_> = self.present.iter().filter(is_aids).cloned().collect();
        let kept = kept.iter().map(|one| moved(one, &aid, name));
        let mut bindings: Vec<_> = kept.collect();
        if is_different {
            let own = own.into_iter().filter(|one| !self.is_pruned(one));
            let own: Vec<_> = own.filter(|one| !bindings.contains(one)).collect();
            bindings.extend(own);
            self.steps
                .push(Step::DeclareExchange(wanted.renamed(aid.clone())));
            for binding in &bindings {
                self.add_binding(moved(binding, name, &aid));
            }
            self.delete_exchange(name);
        }
        if *self.observed.exchange(name) != Status::Same {
            self.steps.push(Step::DeclareExchange(wanted.clone()));
        }
        for binding in bindings {
            self.add_binding(binding);
        }
        self.delete_exchange(&aid);
    }

    fn delete_exchange(&mut self, name: &ExchangeName) {
        self.steps.push(Step::DeleteExchange {
            name: name.clone(),
            with_bindings: true,
        });
        self.present
            .retain(|one| one.source() != name && one.exchange() != Some(name));
    }
}

/// A binding whose ends are another exchange than `from`.
fn moved(binding: &Binding, from: &ExchangeName, to: &ExchangeName) -> Binding {
    let mut moved = binding.clone();
    if moved.source() == from {
        moved = moved.from(to.clone());
    }
    if moved.exchange() == Some(from) {
        moved = moved.to(BindingDestination::Exchange(to.clone()));
    }
    moved
}
