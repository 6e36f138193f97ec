CREATE TABLE IF NOT EXISTS {schema}.stream_tables (
    id int8 PRIMARY KEY,
    name text NOT NULL GENERATED ALWAYS AS (schema_name || '.' || table_name) STORED,
    schema_name text NOT NULL,
    table_name text NOT NULL,
    query text NOT NULL,
    state text NOT NULL CHECK (state IN ('building', 'active', 'paused', 'failed')),
    reason text NOT NULL DEFAULT '',
    columns jsonb NOT NULL,
    key jsonb NOT NULL,
    options jsonb NOT NULL,
    plan jsonb NOT NULL,
    published bool NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE (schema_name, table_name)
);
ALTER TABLE {schema}.stream_tables ADD COLUMN IF NOT EXISTS consistency text NOT NULL DEFAULT 'atomic'
    CHECK (consistency IN ('atomic', 'per-node'));
COMMENT ON TABLE {schema}.stream_tables IS 'What is kept: one row a stream table. Written by tributary only.';

CREATE TABLE IF NOT EXISTS {schema}.frontier (
    one bool PRIMARY KEY DEFAULT true CHECK (one),
    seq int8 NOT NULL,
    epoch int8 NOT NULL,
    positions jsonb NOT NULL,
    published_at timestamptz NOT NULL
) WITH (fillfactor = 10);
COMMENT ON TABLE {schema}.frontier IS 'The cut at which all stream tables of consistency atomic are exact: its number, and the WAL position of each node.';
INSERT INTO {schema}.frontier (seq, epoch, positions, published_at)
    VALUES (0, 0, '{}', clock_timestamp()) ON CONFLICT DO NOTHING;

CREATE TABLE IF NOT EXISTS {schema}.frontier_per_node (LIKE {schema}.frontier INCLUDING ALL) WITH (fillfactor = 10);
COMMENT ON TABLE {schema}.frontier_per_node IS
    'How far each node is in the stream tables of consistency per-node. Positions of different nodes are of different moments.';
INSERT INTO {schema}.frontier_per_node (seq, epoch, positions, published_at)
    VALUES (0, 0, '{}', clock_timestamp()) ON CONFLICT DO NOTHING;

CREATE TABLE IF NOT EXISTS {schema}.nodes (
    node int8 PRIMARY KEY,
    name text NOT NULL,
    host text NOT NULL,
    port int4 NOT NULL,
    position pg_lsn NOT NULL,
    connected bool NOT NULL,
    reason text NOT NULL DEFAULT '',
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE {schema}.nodes IS 'The nodes whose WAL is read, how far, and what is wrong with them.';

CREATE SEQUENCE IF NOT EXISTS {schema}.stream_ids AS int4;
CREATE SEQUENCE IF NOT EXISTS {schema}.wait_tokens;
CREATE TABLE IF NOT EXISTS {schema}.wait_answers (
    token int8 PRIMARY KEY,
    seq int8 NOT NULL
);

-- A sequence is the one thing that another session sees before its writer commits: the daemon watches it, asks every
-- node for its position, and answers with the cut that has them all. One answer serves every older token.
CREATE OR REPLACE FUNCTION {schema}.wait_for_frontier(timeout interval DEFAULT '30 seconds') RETURNS int8
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    deadline CONSTANT timestamptz := clock_timestamp() + timeout;
    mine int8;
    wanted int8;
    reached int8;
    nap float8 := 0.002;
BEGIN
    IF current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted') THEN
        RAISE EXCEPTION 'wait_for_frontier cannot wait in a % transaction', current_setting('transaction_isolation')
            USING ERRCODE = 'invalid_transaction_state',
                  HINT = 'Its snapshot is fixed already: call it before the transaction begins, or in a READ COMMITTED one.';
    END IF;
    mine := nextval('{schema}.wait_tokens');
    LOOP
        SELECT min(a.seq) INTO wanted FROM {schema}.wait_answers a WHERE a.token >= mine;
        SELECT f.seq INTO reached FROM {schema}.frontier f;
        IF reached >= wanted THEN
            RETURN reached;
        END IF;
        IF clock_timestamp() >= deadline THEN
            RAISE EXCEPTION 'the frontier did not come far enough within %', timeout
                USING ERRCODE = 'lock_not_available', HINT = 'See `tributary status` for what it waits for.';
        END IF;
        PERFORM pg_sleep(least(nap, greatest(extract(epoch FROM deadline - clock_timestamp()), 0)));
        nap := least(nap * 1.5, 0.02);
    END LOOP;
END
$body$;
COMMENT ON FUNCTION {schema}.wait_for_frontier(interval) IS
    'Returns when everything that had committed on every node before the call is readable in every stream table.';

GRANT USAGE ON SCHEMA {schema} TO PUBLIC;
GRANT SELECT ON {schema}.stream_tables, {schema}.frontier, {schema}.frontier_per_node, {schema}.nodes TO PUBLIC;
GRANT EXECUTE ON FUNCTION {schema}.wait_for_frontier(interval) TO PUBLIC;
