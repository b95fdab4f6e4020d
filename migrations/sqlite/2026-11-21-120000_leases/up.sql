-- A file has one process, which does all the work there is: whoever holds the file's lock needs no lease. The statement
-- is here because a migration has to have one.
SELECT 1;
