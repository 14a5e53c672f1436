"""What a run reads: a full scan or the event feed, and which milestones are gone."""
