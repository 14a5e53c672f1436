-- Two Postgres roles with only the rights they need.
--
-- milestones_loader owns the schemas of the warehouse and has no other rights: for `milestones`.
-- milestones_reader can read the marts and nothing else: grant it to analysts and dashboards.
--
-- An administrator runs this file once in the warehouse's database, and then sets a password for
-- milestones_loader.
create role milestones_loader login;
create role milestones_reader;
create schema kantata authorization milestones_loader;
create schema kantata_staging authorization milestones_loader;
create schema kantata_stg authorization milestones_loader;
create schema kantata_marts authorization milestones_loader;
create schema kantata_ledger authorization milestones_loader;
grant usage on schema kantata_marts to milestones_reader;
alter default privileges for role milestones_loader in schema kantata_marts
    grant select on tables to milestones_reader;
