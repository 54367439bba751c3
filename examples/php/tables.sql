-- For MySQL, MariaDB and SQLite. The primary key makes a call that comes twice harmless.
CREATE TABLE copernica_calls (
    id CHAR(24) NOT NULL PRIMARY KEY,
    content_type VARCHAR(255) NOT NULL,
    body LONGBLOB NOT NULL,
    taken_at BIGINT NOT NULL,
    due_at BIGINT NOT NULL,
    attempts INT NOT NULL DEFAULT 0,
    done_at BIGINT NULL,
    error TEXT NULL
);
CREATE INDEX copernica_calls_due ON copernica_calls (done_at, due_at);
