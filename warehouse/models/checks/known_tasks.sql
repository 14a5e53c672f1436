-- Tasks are read: if milestones depend on tasks, at least one of these was read. Single ones may be
-- missing, since a task can be deleted.
-- severity: warning
select count(*) as milestones, min(m.story_id) as first_story_id
from kantata_marts.billing_milestones m
left join kantata.stories s on s.id = m.story_id
where m.story_id is not null
having count(*) > 0 and count(s.id) = 0
