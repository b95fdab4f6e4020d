//! Which entries a file has: what was asked for, in the terms of the store.

use super::{ExportError, PAGE, Selection};
use chancery_core::evidence::{Filter, Range, Scope};
use chancery_core::ids::ExecutionId;
use chancery_core::log::Kind;
use chancery_core::statement::{AnyStatement, ExecutionState};
use chancery_store::{DecisionFilter, Entry, Reader};

/// Which entries, in the terms of the store.
pub(super) enum Plan {
    /// Without proofs.
    Complete,
    /// With proofs.
    Range(std::ops::Range<u64>),
    /// With proofs; the indexes of the activations, ascending.
    Filter(Box<DecisionFilter>, Vec<u64>),
}

impl Plan {
    /// Finds out what a selection comes to in a log of `size` entries, and what the header says of it.
    pub(super) fn of(
        reader: &mut Reader<'_>,
        selection: &Selection,
        size: u64,
    ) -> Result<(Self, Scope), ExportError> {
        match selection {
            Selection::Complete => Ok((Self::Complete, Scope::Range(Range { from: 0, to: size }))),
            Selection::Range { from, to } => {
                let to = to.unwrap_or(size);
                if *from > to || to > size {
                    return Err(ExportError::Range { from: *from, to, size });
                }
                let range = widen(reader, *from..to)?;
                let scope = Scope::Range(Range { from: range.start, to: range.end });
                Ok((if range == (0..size) { Self::Complete } else { Self::Range(range) }, scope))
            }
            Selection::Filter(filter) => {
                for id in filter.execution_ids.iter().flatten() {
                    if reader.decision(id)?.is_none_or(|record| record.summary.index >= size) {
                        return Err(ExportError::NoDecision { execution_id: id.clone() });
                    }
                }
                let decisions = store_filter(filter)?;
                let activations = reader.activations_of(&decisions)?;
                let activations =
                    activations.iter().map(|activation| activation.index).filter(|index| *index < size);
                let plan = Self::Filter(Box::new(decisions), activations.collect());
                Ok((plan, Scope::Filter(Box::new(filter.clone()))))
            }
        }
    }
}

fn store_filter(filter: &Filter) -> Result<DecisionFilter, ExportError> {
    if filter.is_empty() {
        return Err(ExportError::EmptyFilter);
    }
    let state = match filter.state.as_deref() {
        None => None,
        Some("completed") => Some(ExecutionState::Completed),
        Some("pending_override") => Some(ExecutionState::PendingOverride),
        Some("blocked") => Some(ExecutionState::Blocked),
        Some(other) => return Err(ExportError::State { state: other.to_owned() }),
    };
    if filter.execution_ids.as_ref().is_some_and(Vec::is_empty) {
        return Err(ExportError::EmptyFilter);
    }
    Ok(DecisionFilter {
        policy: filter.policy.clone(),
        version: filter.version.clone(),
        outcome: filter.outcome.clone(),
        state,
        from: filter.from,
        to: filter.to,
        execution_ids: filter.execution_ids.clone().unwrap_or_default(),
        ..DecisionFilter::default()
    })
}

/// Begins a range before the override cases that it contains and ends it after the erasures of its decisions.
fn widen(reader: &mut Reader<'_>, asked: std::ops::Range<u64>) -> Result<std::ops::Range<u64>, ExportError> {
    let step = u64::try_from(PAGE).unwrap_or(1);
    let (mut from, mut to) = (asked.start, asked.end);
    let mut unseen = vec![asked];
    while let Some(range) = unseen.pop() {
        let (old_from, old_to) = (from, to);
        let mut at = range.start;
        while at < range.end {
            let end = range.end.min(at.saturating_add(step));
            for entry in reader.entries(at..end)? {
                match entry.kind {
                    Kind::Override | Kind::Resolution | Kind::Confirmation => {
                        for id in subjects(&entry)? {
                            let decision = reader.decision(&id)?;
                            from = decision.map_or(from, |decision| from.min(decision.summary.index));
                        }
                    }
                    Kind::Decision => {
                        if reader.opening(entry.index)?.is_some_and(|stored| !stored.opening.partial) {
                            continue;
                        }
                        for id in subjects(&entry)? {
                            let about = reader.entries_about(&id)?;
                            let erasures = about.iter().filter(|entry| entry.kind == Kind::Erasure);
                            to = erasures.map(|entry| entry.index + 1).fold(to, u64::max);
                        }
                    }
                    _ => {}
                }
            }
            at = end;
        }
        unseen.extend([from..old_from, old_to..to].into_iter().filter(|range| !range.is_empty()));
    }
    Ok(from..to)
}

fn subjects(entry: &Entry) -> Result<Vec<ExecutionId>, ExportError> {
    let index = entry.index;
    let statement = AnyStatement::parse_unverified(entry.kind, &entry.payload)
        .map_err(|source| ExportError::Statement { index, source })?;
    Ok(statement.subject().iter().filter_map(|subject| subject.name.parse().ok()).collect())
}
