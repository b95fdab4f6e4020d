-- This is about pages and statement journals, which PostgreSQL has none of: it logs rows, undoes a statement without
-- copies, and these tables have no foreign keys here. The statement is here because a migration has to have one.
SELECT 1;
