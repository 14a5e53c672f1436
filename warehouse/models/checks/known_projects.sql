-- The project of every milestone was read.
-- severity: warning
select m.workspace_id, count(*) as milestones
from kantata_marts.billing_milestones m
left join kantata.workspaces w on w.id = m.workspace_id
where w.id is null
group by m.workspace_id
