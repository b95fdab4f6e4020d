DROP TABLE security_events;
DROP TABLE api_key_revocations;
DROP TABLE api_keys;
