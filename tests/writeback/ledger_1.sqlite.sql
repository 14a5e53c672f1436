-- A ledger as version 1 made it: an unknown update, an applied create, a proposed delete.
CREATE TABLE changes (
    number INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    change_id TEXT NOT NULL,
    status TEXT NOT NULL,
    action TEXT NOT NULL,
    milestone_id TEXT,
    workspace_id TEXT NOT NULL,
    currency TEXT,
    fields_after TEXT NOT NULL,
    fields_before TEXT NOT NULL,
    reason TEXT NOT NULL,
    proposer TEXT NOT NULL,
    duplicate INTEGER NOT NULL,
    twin_key TEXT,
    proposed_at TEXT NOT NULL,
    approver TEXT,
    approved_digest TEXT,
    attempts INTEGER NOT NULL,
    sent_at TEXT,
    twins TEXT NOT NULL,
    outcome TEXT NOT NULL,
    UNIQUE (change_id)
);
CREATE TABLE events (
    number INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    change_id TEXT NOT NULL,
    at TEXT NOT NULL,
    status_before TEXT,
    status_after TEXT NOT NULL,
    who TEXT NOT NULL,
    what TEXT NOT NULL,
    request_id TEXT,
    db_user TEXT,
    FOREIGN KEY(change_id) REFERENCES changes (change_id)
);
CREATE TABLE ledger_version (
    version INTEGER NOT NULL
);
CREATE UNIQUE INDEX one_create_of_a_kind ON changes (twin_key) WHERE status in ('applied', 'applying', 'approved', 'proposed', 'unknown');
CREATE UNIQUE INDEX one_open_change_of_a_milestone ON changes (milestone_id) WHERE status in ('applying', 'approved', 'proposed', 'unknown');
CREATE INDEX events_of_a_change ON events (change_id, number);
CREATE TRIGGER events_update_refused before update on events begin select raise(abort, 'events of the ledger are never altered'); end;
CREATE TRIGGER events_delete_refused before delete on events begin select raise(abort, 'events of the ledger are never altered'); end;
INSERT INTO changes VALUES(1,'d0144eb3bbbbbedc','unknown','update','7','3','USD','{"title": "is"}','{"title": "was", "amount_in_cents": 1, "workspace_id": "3"}','because','ann',0,NULL,'2026-11-20T12:00:00+00:00','bob','55c1f95b88c1345f17a08f5f87302172a2c56e4bbda8b632a1f70130fc3fc0c6',1,'2026-11-20T12:00:00+00:00','[]','no answer');
INSERT INTO changes VALUES(2,'82bf4eb828d43db3','applied','create','1000','3','USD','{"workspace_id": "3", "title": "new", "amount_in_cents": 5}','{}','because','ann',0,'["3", "new", 5, null]','2026-11-20T12:00:00+00:00','bob','fc660f95b6dc5f08facc44cb34930160ff5be0aaecdbf473ad71503ab0a769b9',1,'2026-11-20T12:00:00+00:00','["9"]','done');
INSERT INTO changes VALUES(3,'3ef451196bfbabbb','proposed','delete','8','3','USD','{}','{"title": "x"}','because','ann',0,NULL,'2026-11-20T12:00:00+00:00',NULL,NULL,0,NULL,'[]','');
INSERT INTO events VALUES(1,'d0144eb3bbbbbedc','2026-11-20T12:00:00+00:00',NULL,'proposed','ann','because',NULL,NULL);
INSERT INTO events VALUES(2,'82bf4eb828d43db3','2026-11-20T12:00:00+00:00',NULL,'proposed','ann','because',NULL,NULL);
INSERT INTO events VALUES(3,'3ef451196bfbabbb','2026-11-20T12:00:00+00:00',NULL,'proposed','ann','because',NULL,NULL);
INSERT INTO events VALUES(4,'d0144eb3bbbbbedc','2026-11-20T12:00:00+00:00','proposed','approved','bob','approved 55c1f95b88c1345f17a08f5f87302172a2c56e4bbda8b632a1f70130fc3fc0c6',NULL,NULL);
INSERT INTO events VALUES(5,'d0144eb3bbbbbedc','2026-11-20T12:00:00+00:00','approved','applying','milestones push','sending',NULL,NULL);
INSERT INTO events VALUES(6,'d0144eb3bbbbbedc','2026-11-20T12:00:00+00:00','applying','unknown','milestones push','no answer',NULL,NULL);
INSERT INTO events VALUES(7,'82bf4eb828d43db3','2026-11-20T12:00:00+00:00','proposed','approved','bob','approved fc660f95b6dc5f08facc44cb34930160ff5be0aaecdbf473ad71503ab0a769b9',NULL,NULL);
INSERT INTO events VALUES(8,'82bf4eb828d43db3','2026-11-20T12:00:00+00:00','approved','applying','milestones push','sending',NULL,NULL);
INSERT INTO events VALUES(9,'82bf4eb828d43db3','2026-11-20T12:00:00+00:00','applying','applied','milestones push','done','r-1',NULL);
INSERT INTO ledger_version VALUES (1);
