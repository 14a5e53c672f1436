"""The triggers that protect the ledger: events stay, and what was approved stays as it was."""

from __future__ import annotations

import re
from collections.abc import Mapping

import sqlalchemy as sa
from sqlalchemy.engine import Connection

SCHEMA = "kantata_ledger"  # on Postgres
# What was approved, and who approved it. The milestone's id belongs to it too, except for a create,
# which gets one only when it is applied.
_FROZEN_COLUMNS = (
    "number", "change_id", "action", "workspace_id", "currency", "fields_after", "fields_before",
    "reason", "proposer", "duplicate", "proposed_at", "approver", "approved_digest",
)  # fmt: skip
_EVENTS_STAY = "events of the ledger are never altered"
_APPROVAL_STAYS = "what was approved is never altered"
_CHANGES_STAY = "changes of the ledger are never removed"
# With the roles of roles.sql, a role other than the owner adds events in its own name, and only
# proposals and decisions; nobody approves what a session of the same role proposed.
_EVENTS_OF_OTHERS = f"""
create function {SCHEMA}.check_event() returns trigger language plpgsql as $$
begin
    if to_regrole('milestones_approver') is null  -- roles.sql is not in use
    or pg_has_role(session_user, (select relowner from pg_class where oid = tg_relid), 'member')
    then
        return new;
    end if;
    if new.db_user is distinct from session_user then
        raise exception 'an event carries the name of the role that adds it';
    end if;
    if new.status_after not in ('proposed', 'approved', 'rejected', 'withdrawn') then
        raise exception 'only the role of the scheduled job may record what was sent';
    end if;
    if new.status_after in ('approved', 'rejected')
    and not pg_has_role(session_user, 'milestones_approver', 'member') then
        raise exception 'only members of milestones_approver may approve or reject';
    end if;
    if new.status_after = 'approved' and exists (
        select from {SCHEMA}.events
        where change_id = new.change_id and status_before is null and db_user = session_user
    ) then
        raise exception 'a session of the same role proposed it: another one must approve it';
    end if;
    return new;
end $$
"""
_CLOSES_STAY = "closed months of the ledger are never altered: reopen the month"
_PERIOD_TABLES = {  # by their key
    "period_closes": ("close_number",),
    "period_close_figures": ("close_number", "row_number"),
    "period_close_milestones": ("close_number", "milestone_id"),
    "period_reopens": ("close_number",),
}
# With the roles of roles.sql, those who may approve may close a month, in their own name.
_CLOSES_OF_OTHERS = f"""
create function {SCHEMA}.check_close() returns trigger language plpgsql as $$
begin
    if to_regrole('milestones_approver') is null  -- roles.sql is not in use
    or pg_has_role(session_user, (select relowner from pg_class where oid = tg_relid), 'member')
    then
        return new;
    end if;
    if not pg_has_role(session_user, 'milestones_approver', 'member') then
        raise exception 'only members of milestones_approver may close or reopen a month';
    end if;
    if tg_table_name in ('period_closes', 'period_reopens') then
        if new.db_user is distinct from session_user then
            raise exception 'a close carries the name of the role that adds it';
        end if;
    end if;
    return new;
end $$
"""
_ENABLED = {
    "sqlite": "select name from sqlite_master where type = 'trigger'",
    "postgresql": "select tgname from pg_trigger t join pg_class c on c.oid = t.tgrelid "
    f"where c.relnamespace = '{SCHEMA}'::regnamespace and t.tgenabled in ('O', 'A')",
}
# By the version of the tables that added them.
TRIGGERS: Mapping[int, Mapping[str, list[str]]] = {
    1: {
        "sqlite": [
            f"create trigger events_{operation}_refused before {operation} on events "
            f"begin select raise(abort, '{_EVENTS_STAY}'); end"
            for operation in ("update", "delete")
        ],
        "postgresql": [
            f"create function {SCHEMA}.refuse() returns trigger language plpgsql as "
            f"$$ begin raise exception '{_EVENTS_STAY}'; end $$",
            f"create trigger events_refused before update or delete or truncate on {SCHEMA}.events "
            f"for each statement execute function {SCHEMA}.refuse()",
        ],
    },
    2: {
        "sqlite": [
            # `insert or replace` removes a row without firing a delete trigger.
            "create trigger events_replace_refused before insert on events "
            "when exists (select 1 from events where number = new.number) "
            f"begin select raise(abort, '{_EVENTS_STAY}'); end",
            "create trigger changes_replace_refused before insert on changes when exists "
            "(select 1 from changes where number = new.number or change_id = new.change_id) "
            f"begin select raise(abort, '{_CHANGES_STAY}'); end",
            "create trigger changes_delete_refused before delete on changes "
            f"begin select raise(abort, '{_CHANGES_STAY}'); end",
            "create trigger changes_update_refused before update on changes "
            "when old.approved_digest is not null and ("
            + " or ".join(f"new.{name} is not old.{name}" for name in _FROZEN_COLUMNS)
            + " or (old.action <> 'create' and new.milestone_id is not old.milestone_id)) "
            f"begin select raise(abort, '{_APPROVAL_STAYS}'); end",
        ],
        "postgresql": [
            f"create function {SCHEMA}.keep() returns trigger language plpgsql as "
            f"$$ begin raise exception '{_CHANGES_STAY}'; end $$",
            f"create trigger changes_delete_refused before delete or truncate on {SCHEMA}.changes "
            f"for each statement execute function {SCHEMA}.keep()",
            f"create function {SCHEMA}.keep_approved() returns trigger language plpgsql as "
            "$$ begin if old.approved_digest is not null and ("
            + " or ".join(f"new.{name} is distinct from old.{name}" for name in _FROZEN_COLUMNS)
            + " or (old.action <> 'create' and "
            "new.milestone_id is distinct from old.milestone_id)) "
            f"then raise exception '{_APPROVAL_STAYS}'; end if; return new; end $$",
            f"create trigger changes_update_refused before update on {SCHEMA}.changes "
            f"for each row execute function {SCHEMA}.keep_approved()",
        ],
    },
    3: {
        "sqlite": [
            *[
                f"create trigger event_chain_{operation}_refused before {operation} on event_chain "
                f"begin select raise(abort, '{_EVENTS_STAY}'); end"
                for operation in ("update", "delete")
            ],
            "create trigger event_chain_replace_refused before insert on event_chain "
            "when exists (select 1 from event_chain where number = new.number) "
            f"begin select raise(abort, '{_EVENTS_STAY}'); end",
        ],
        "postgresql": [
            "create trigger event_chain_refused before update or delete or truncate on "
            f"{SCHEMA}.event_chain for each statement execute function {SCHEMA}.refuse()",
            _EVENTS_OF_OTHERS,
            f"create trigger events_checked before insert on {SCHEMA}.events "
            f"for each row execute function {SCHEMA}.check_event()",
        ],
    },
    4: {
        "sqlite": [
            statement
            for table, key in _PERIOD_TABLES.items()
            for statement in (
                *[
                    f"create trigger {table}_{operation}_refused before {operation} on {table} "
                    f"begin select raise(abort, '{_CLOSES_STAY}'); end"
                    for operation in ("update", "delete")
                ],
                f"create trigger {table}_replace_refused before insert on {table} when exists "
                f"(select 1 from {table} where "
                + " and ".join(f"{column} = new.{column}" for column in key)
                + f") begin select raise(abort, '{_CLOSES_STAY}'); end",
            )
        ],
        "postgresql": [
            f"create function {SCHEMA}.keep_close() returns trigger language plpgsql as "
            f"$$ begin raise exception '{_CLOSES_STAY}'; end $$",
            _CLOSES_OF_OTHERS,
            *[
                statement
                for table in _PERIOD_TABLES
                for statement in (
                    f"create trigger {table}_refused before update or delete or truncate on "
                    f"{SCHEMA}.{table} for each statement execute function {SCHEMA}.keep_close()",
                    f"create trigger {table}_checked before insert on {SCHEMA}.{table} "
                    f"for each row execute function {SCHEMA}.check_close()",
                )
            ],
        ],
    },
}


def create_triggers(connection: Connection, version: int) -> None:
    """Create the triggers that a version adds to the ledger."""
    for statement in TRIGGERS[version][connection.dialect.name]:
        connection.execute(sa.text(statement))


def missing_triggers(connection: Connection) -> list[str]:
    """Return the names of the ledger's triggers that somebody removed or disabled, sorted."""
    wanted = {
        match[1]
        for version in TRIGGERS.values()
        for statement in version[connection.dialect.name]
        if (match := re.match(r"create trigger (\w+)", statement))
    }
    query = _ENABLED[connection.dialect.name]
    return sorted(wanted - {name for (name,) in connection.execute(sa.text(query))})
