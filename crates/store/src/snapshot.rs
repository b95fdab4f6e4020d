//! A read transaction that is held for an export: everything it gives is of the moment when it began.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use chancery_core::ids::TenantId;

use crate::database::{Begin, Connection};
use crate::decision::DecisionFilter;
use crate::error::StoreError;
use crate::read::{Entry, Head, Reader};

/// How many entries an iterator of a snapshot reads at a time: with payloads of a few KiB about a MiB.
pub const ENTRIES_PAGE: u64 = 256;

/// See [`Store::snapshot`](crate::Store::snapshot).
pub struct Snapshot {
    connection: Mutex<Connection>,
    tenant: TenantId,
    head: Head,
}

impl Snapshot {
    pub(crate) fn begin(mut connection: Connection, tenant: TenantId) -> Result<Self, StoreError> {
        // The transaction begins with the first read, which is the head's. It ends with the connection.
        connection.begin(Begin::Read)?;
        let head = Reader::new(&mut connection, &tenant).head()?;
        Ok(Self { connection: Mutex::new(connection), tenant, head })
    }

    /// Where the log stood when the snapshot began.
    #[must_use]
    pub fn head(&self) -> Head {
        self.head
    }

    /// Reads in the snapshot. Do not call it again within `work`: it would wait for itself.
    ///
    /// # Errors
    /// What `work` fails with.
    pub fn read<T>(
        &self,
        work: impl FnOnce(&mut Reader<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        work(&mut Reader::new(&mut connection, &self.tenant))
    }

    /// The entries of `range` as far as the log goes, in order, read a page at a time.
    #[must_use]
    pub fn entries(&self, range: Range<u64>) -> Entries<'_> {
        Entries {
            snapshot: self,
            next: range.start,
            end: range.end.min(self.head.size),
            page: VecDeque::new(),
        }
    }

    /// The entries that `filter` concerns (as [`Reader::selected_indexes`]), in order, read a page at a time.
    #[must_use]
    pub fn selected(&self, filter: DecisionFilter) -> Selected<'_> {
        Selected { snapshot: self, filter, next: Some(0), page: VecDeque::new() }
    }
}

/// A stream of consecutive entries. Ends after an error.
pub struct Entries<'a> {
    snapshot: &'a Snapshot,
    next: u64,
    end: u64,
    page: VecDeque<Entry>,
}

impl Iterator for Entries<'_> {
    type Item = Result<Entry, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.page.is_empty() && self.next < self.end {
            let range = self.next..self.end.min(self.next.saturating_add(ENTRIES_PAGE));
            self.next = range.end;
            match self.snapshot.read(|reader| consecutive(reader, range)) {
                Ok(page) => self.page = page.into(),
                Err(error) => {
                    self.next = self.end;
                    return Some(Err(error));
                }
            }
        }
        self.page.pop_front().map(Ok)
    }
}

/// An index that is not there.
#[derive(Debug, thiserror::Error)]
#[error("an entry is missing")]
struct Gap;

/// A range of which every entry has to be there.
fn consecutive(reader: &mut Reader<'_>, range: Range<u64>) -> Result<Vec<Entry>, StoreError> {
    let entries = reader.entries(range.clone())?;
    let mut found = entries.iter().map(|entry| entry.index);
    match range.into_iter().find(|index| found.next() != Some(*index)) {
        Some(index) => Err(StoreError::corrupt("log_entries", index, Gap)),
        None => Ok(entries),
    }
}

/// A stream of the entries that a filter concerns. Ends after an error.
pub struct Selected<'a> {
    snapshot: &'a Snapshot,
    filter: DecisionFilter,
    /// From which index the next page begins; none when there is no more.
    next: Option<u64>,
    page: VecDeque<Entry>,
}

impl Iterator for Selected<'_> {
    type Item = Result<Entry, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.page.is_empty()
            && let Some(from) = self.next.take()
        {
            let limit = u32::try_from(ENTRIES_PAGE).unwrap_or(u32::MAX);
            let page = self.snapshot.read(|reader| {
                let indexes = reader.selected_indexes(&self.filter, from, limit)?;
                reader.entries_at(&indexes)
            });
            match page {
                Ok(page) => {
                    let full = u64::try_from(page.len()).is_ok_and(|count| count >= ENTRIES_PAGE);
                    self.next = page.last().filter(|_| full).map(|last| last.index.saturating_add(1));
                    self.page = page.into();
                }
                Err(error) => return Some(Err(error)),
            }
        }
        self.page.pop_front().map(Ok)
    }
}
