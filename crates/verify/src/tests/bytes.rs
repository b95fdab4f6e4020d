//! A changed file is never verified.
