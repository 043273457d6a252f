// Microsoft Sentinel: incidents from the rows of AutomationDetections_CL. Deployed to the resource group of the workspace.

@description('Name of the workspace, in the resource group that this module is deployed to.')
param workspaceName string

@description('Whether to enable Microsoft Sentinel on the workspace. It is billed by the gigabyte from then on.')
param onboard bool

@description('Whether to create the analytics rule.')
param createRule bool

resource workspace 'Microsoft.OperationalInsights/workspaces@2025-02-01' existing = {
  name: workspaceName
}

// Created by ingestion.bicep; main.bicep deploys that first.
resource detections 'Microsoft.OperationalInsights/workspaces/tables@2025-02-01' existing = {
  parent: workspace
  name: 'AutomationDetections_CL'
}

resource onboarding 'Microsoft.SecurityInsights/onboardingStates@2024-09-01' = if (onboard) {
  scope: workspace
  name: 'default'
  properties: {}
}

resource rule 'Microsoft.SecurityInsights/alertRules@2024-09-01' = if (createRule) {
  scope: workspace
  name: guid(workspace.id, 'azure-automation-detector', 'incidents')
  kind: 'Scheduled'
  properties: {
    displayName: 'Azure Automation detector'
    description: 'Raises an incident for each alert of the Azure Automation detector; alerts of the same actor on the same resource within a day are one incident.'
    enabled: true
    query: loadTextContent('../queries/sentinel-incidents.kql')
    queryFrequency: 'PT5M'
    // The detector tries for a day to send a row, so a row may be that much older than its arrival.
    queryPeriod: 'P1D'
    severity: 'Medium'
    triggerOperator: 'GreaterThan'
    triggerThreshold: 0
    suppressionEnabled: false
    suppressionDuration: 'PT5H'
    tactics: [
      'Execution'
      'Persistence'
      'PrivilegeEscalation'
      'DefenseEvasion'
      'CredentialAccess'
    ]
    eventGroupingSettings: {
      aggregationKind: 'AlertPerResult'
    }
    entityMappings: [
      {
        entityType: 'Account'
        fieldMappings: [
          {
            identifier: 'Name'
            columnName: 'CallerName'
          }
          {
            identifier: 'UPNSuffix'
            columnName: 'CallerUpnSuffix'
          }
        ]
      }
      {
        entityType: 'Account'
        fieldMappings: [
          {
            identifier: 'AadUserId'
            columnName: 'CallerObjectId'
          }
        ]
      }
      {
        entityType: 'IP'
        fieldMappings: [
          {
            identifier: 'Address'
            columnName: 'CallerIpAddress'
          }
        ]
      }
      {
        entityType: 'AzureResource'
        fieldMappings: [
          {
            identifier: 'ResourceId'
            columnName: 'TargetResourceId'
          }
        ]
      }
    ]
    alertDetailsOverride: {
      alertDisplayNameFormat: '{{AlertTitle}}'
      alertDescriptionFormat: '{{Description}}'
      alertSeverityColumnName: 'Severity'
      alertTacticsColumnName: 'Tactics'
      alertDynamicProperties: [
        {
          alertProperty: 'Techniques'
          value: 'Techniques'
        }
        {
          alertProperty: 'AlertLink'
          value: 'PortalUrl'
        }
      ]
    }
    customDetails: {
      AlertId: 'AlertId'
      RuleName: 'RuleName'
      Source: 'Source'
      Operation: 'Operation'
      Outcome: 'Outcome'
      AutomationAccount: 'AutomationAccount'
      CorrelationId: 'CorrelationId'
    }
    incidentConfiguration: {
      createIncident: true
      groupingConfiguration: {
        enabled: true
        reopenClosedIncident: false
        lookbackDuration: 'PT24H'
        matchingMethod: 'Selected'
        groupByEntities: [
          'Account'
          'AzureResource'
        ]
        groupByAlertDetails: []
        groupByCustomDetails: []
      }
    }
  }
  dependsOn: [
    onboarding
    detections
  ]
}
