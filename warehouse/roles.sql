-- Postgres roles with only the rights they need.
--
-- milestones_loader owns the schemas of the warehouse and has no other rights: for `milestones run`.
-- milestones_reader can read the marts and nothing else: grant it to analysts and dashboards, and to
-- the role in WAREHOUSE__READER_CREDENTIALS of those who propose by query; the console's is a member
-- of milestones_proposer. kantata_user has the marts of users.
-- milestones_proposer can read the warehouse and propose changes; milestones_approver can also decide
-- on them, and close months. Grant them to the logins of people. The ledger then refuses an approval
-- by the login that proposed. It records the login of each event; the name in --as is not checked.
--
-- milestones_console is for the login of the web console only, in LEDGER__URL: its users propose and
-- approve with that one login, and the ledger believes the console who they are.
--
-- An administrator runs this file once in the warehouse's database, before the first run, and then
-- sets a password for milestones_loader. After the first run, `milestones changes`, run once as
-- milestones_loader, creates the ledger, so that others can propose.
create role milestones_loader login;
create role milestones_reader;
create role milestones_proposer;
create role milestones_approver;
create role milestones_console in role milestones_approver;
create schema kantata authorization milestones_loader;
create schema kantata_staging authorization milestones_loader;
create schema kantata_stg authorization milestones_loader;
create schema kantata_marts authorization milestones_loader;
create schema kantata_ledger authorization milestones_loader;
create schema kantata_user authorization milestones_loader;
grant usage on schema kantata_marts to milestones_reader, milestones_proposer, milestones_approver;
alter default privileges for role milestones_loader in schema kantata_marts
    grant select on tables to milestones_reader, milestones_proposer, milestones_approver;
grant usage on schema kantata_user to milestones_reader, milestones_proposer, milestones_approver;
alter default privileges for role milestones_loader in schema kantata_user
    grant select on tables to milestones_reader, milestones_proposer, milestones_approver;
grant usage on schema kantata, kantata_stg, kantata_ledger to milestones_proposer, milestones_approver;
alter default privileges for role milestones_loader in schema kantata
    grant select on tables to milestones_proposer, milestones_approver;
alter default privileges for role milestones_loader in schema kantata_stg
    grant select on tables to milestones_proposer, milestones_approver;
alter default privileges for role milestones_loader in schema kantata_ledger
    grant select, insert on tables to milestones_proposer;
alter default privileges for role milestones_loader in schema kantata_ledger
    grant select, insert, update on tables to milestones_approver;
alter default privileges for role milestones_loader in schema kantata_ledger
    grant usage on sequences to milestones_proposer, milestones_approver;
