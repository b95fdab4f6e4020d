//! tlog_proof.
