<#
.SYNOPSIS
    Starts the development machines before work begins.
#>
param(
    [string] $ResourceGroupName = 'rg-development'
)

Connect-AzAccount -Identity | Out-Null
Get-AzVM -ResourceGroupName $ResourceGroupName -Status |
    Where-Object { $_.PowerState -ne 'VM running' -and $_.Tags['AutoStart'] -eq 'true' } |
    ForEach-Object { Start-AzVM -ResourceGroupName $_.ResourceGroupName -Name $_.Name -NoWait }
