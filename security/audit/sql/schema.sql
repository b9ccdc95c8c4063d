-- The trail. Every column but `facts` is part of the row's hash; `facts` repeats `facts_text` for queries.
CREATE TABLE IF NOT EXISTS switchtower.audit (
    seq        bigint PRIMARY KEY CHECK (seq > 0),
    written    bigint NOT NULL,          -- when the auditor wrote it, ms since 1970
    at         bigint NOT NULL,          -- when it happened, by the clock of whoever says so, ms since 1970
    event      text   NOT NULL,          -- the event's own id
    topic      text   NOT NULL,
    outcome    text   NOT NULL,
    actor      text   NOT NULL,
    job        text   NOT NULL,
    tenant     text   NOT NULL,
    username   text   NOT NULL,
    sealed_by  text   NOT NULL,          -- the role whose key sealed it, or 'nobody'
    kid        text,                     -- that key
    facts_text text   NOT NULL,          -- canonical JSON, exactly as it was hashed
    facts      jsonb  NOT NULL,
    text_hash  text,                     -- SHA-256 of the text that was judged
    excerpt    text,
    seal       text,                     -- the source's envelope, event and signature; null where nobody sealed
    note_hash  text   NOT NULL UNIQUE,   -- SHA-256 of what stood on the stream: the same note is written once
    prev_hash  text   NOT NULL UNIQUE,   -- a chain cannot fork, whoever writes
    hash       text   NOT NULL UNIQUE
);

CREATE INDEX IF NOT EXISTS audit_job ON switchtower.audit (job);
CREATE INDEX IF NOT EXISTS audit_at ON switchtower.audit (at);
CREATE INDEX IF NOT EXISTS audit_topic ON switchtower.audit (topic, seq);

-- A belt against accidents, the owner's included. The proof is the chain: who may drop a trigger may do so.
CREATE OR REPLACE FUNCTION switchtower.audit_only_grows() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit trail only grows: % is refused', TG_OP USING ERRCODE = 'insufficient_privilege';
END
$$;

CREATE OR REPLACE TRIGGER audit_only_grows
    BEFORE UPDATE OR DELETE OR TRUNCATE ON switchtower.audit
    FOR EACH STATEMENT EXECUTE FUNCTION switchtower.audit_only_grows();

GRANT USAGE ON SCHEMA switchtower TO switchtower_auditor, switchtower_reader;
REVOKE ALL ON switchtower.audit FROM PUBLIC, switchtower_auditor, switchtower_reader;
GRANT INSERT ON switchtower.audit TO switchtower_auditor;
-- What the writer needs to go on from the head, and to know a note that it has written before.
GRANT SELECT (seq, hash, note_hash) ON switchtower.audit TO switchtower_auditor;
GRANT SELECT ON switchtower.audit TO switchtower_reader;
