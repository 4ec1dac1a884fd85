-- One table, as an event store on PostgreSQL would have it: (stream, version) unique, payload as long as our entries.
CREATE TABLE events (
    position bigserial PRIMARY KEY,
    stream   integer NOT NULL,
    version  bigint NOT NULL,
    type     text NOT NULL,
    payload  text NOT NULL,
    UNIQUE (stream, version)
);
CREATE SEQUENCE versions;
