DROP TABLE leases;
DROP FUNCTION chancery_fence_grows();
