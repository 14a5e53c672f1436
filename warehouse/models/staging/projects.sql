-- Projects with their client, leads and status. `hidden` names what the token's user may not see.
-- NUL, which Postgres accepts in no text, becomes U+FFFD, as in received_versions.
-- grain: workspace_id
select
    w.id as workspace_id,
    w.title as project,
    d.client_id,
    d.client,
    d.project_lead_id,
    d.project_lead,
    d.client_lead,
    case
        when strpos(w.status, '\u0000') = 0 then w.status
        else replace(replace(replace(w.status, '\\', chr(1)), '\u0000', '\ufffd'), chr(1), '\\')
    end::json ->> 'message' as project_status,
    d.stage as project_stage,
    nullif(
        concat_ws(
            ', ',
            case
                when d.id is null then 'client, project_lead, client_lead, project_stage'
                else d.hidden
            end,
            case when w.status is null then 'project_status' end
        ),
        ''
    ) as hidden_fields
from kantata.workspaces w
left join kantata.project_details d on d.id = w.id
