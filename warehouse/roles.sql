-- Least privilege on Postgres. An administrator runs this once, in the warehouse's database, and
-- then gives milestones_loader a password. The loader owns its schemas and needs nothing else;
-- whoever is granted milestones_reader sees the marts and nothing else.
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
