-- The calls that are done. The primary key makes a call that comes twice harmless.
CREATE TABLE copernica_calls (
    id CHAR(24) NOT NULL PRIMARY KEY,
    done_at BIGINT NOT NULL
);
