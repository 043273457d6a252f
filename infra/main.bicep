// Everything that the detector needs, in one deployment: a resource group of its own, and in each watched subscription a
// role for reading Azure Automation and an export of the Activity Log. `azd up`, or `az deployment sub create`.

targetScope = 'subscription'

// Settings that have a default in the code and may be tuned. Sealed: a misspelt name is refused, by the compiler for a
// literal and by Azure for a parameter. What each means: the settings table of README.
@sealed()
@description('App settings to set to something other than their default.')
type settingOverrides = {
  LOGS_ENDPOINT: string?
  ARM_ENDPOINT: string?
  CA_BUNDLE: string?
  DESTINATIONS_PATH: string?
  RULES_PATH: string?
  HUNT_CONCURRENCY: string?
  HUNT_OVERLAP: string?
  HUNT_MAX_WINDOW: string?
  HUNT_INITIAL_LOOKBACK: string?
  HUNT_QUERY_TIMEOUT: string?
  HUNT_TIME_BUDGET: string?
  HUNT_ALERT_LIMIT: string?
  SWEEP_LOOKBACK: string?
  STREAM_TIME_BUDGET: string?
  INVENTORY_CONCURRENCY: string?
  INVENTORY_TIME_BUDGET: string?
  INVENTORY_STALE_AFTER: string?
  ENRICHMENT_TIMEOUT: string?
  TRIAGE_DEADLINE: string?
  CONTENT_LIMIT_BYTES: string?
  DELIVERY_TIME_BUDGET: string?
}

@description('Name of the environment. Names and tags of the resources are made from it.')
@minLength(1)
@maxLength(64)
param environmentName string

@description('Region of the resources. It needs Flex Consumption: az functionapp list-flexconsumption-locations.')
@metadata({ azd: { type: 'location' } })
@minLength(1)
param location string

@description('Name of the resource group, which is created; empty: rg- and the environment name.')
@maxLength(90)
param resourceGroupName string = ''

@description('Further tags of every resource.')
param tags object = {}

@description('Ids of the subscriptions to watch, separated by commas; empty: the one that is deployed to. Each gets the reading role and the Activity Log export, so the deployer has to be Owner (or Contributor and User Access Administrator) of each.')
param subscriptionIds string = ''

@description('Whether the role lets runtime environments and their packages be read too. Azure lists no action for them, so the role then has a pattern that matches every read below an account, without those that are not needed.')
param readRuntimeEnvironments bool = false

@description('Whether to export the Activity Log of these subscriptions to the Event Hub. False where the setting is made by a policy.')
param exportActivityLog bool = true

@description('Whether that export also fills the workspace. False where another diagnostic setting sends the Activity Log to the same workspace already: Azure refuses the second one.')
param exportActivityLogToWorkspace bool = true

@description('Resource id of an existing Log Analytics workspace, in any subscription of the tenant; empty: a new one is created.')
param workspaceResourceId string = ''

@description('Days that a new workspace keeps rows.')
@minValue(30)
@maxValue(730)
param workspaceRetentionInDays int = 90

@description('Ids (GUIDs) of further workspaces to hunt in, separated by commas.')
param additionalWorkspaceIds string = ''

@description('Resource ids of these further workspaces, in the same order, separated by commas. The detector gets Log Analytics Reader on each.')
param additionalWorkspaceResourceIds string = ''

@description('Days that the tables of the detector are kept for queries.')
@minValue(4)
@maxValue(730)
param tableRetentionInDays int = 90

@description('Days that the tables of the detector are kept in all, long-term retention included.')
@minValue(4)
@maxValue(4383)
param tableTotalRetentionInDays int = 365

@description('How Microsoft Sentinel gets incidents. none: not at all. rule: an analytics rule over AutomationDetections_CL, which the Defender portal shows too. incidents: the detector writes them itself, in the Azure portal only, and gets Microsoft Sentinel Responder.')
@allowed(['none', 'rule', 'incidents'])
param sentinel string = 'none'

@description('Whether to enable Microsoft Sentinel on the workspace. Leave it false where Sentinel is enabled already. It is billed by the gigabyte.')
param onboardSentinel bool = false

@description('URL of a Teams Workflows webhook, written to the Key Vault; empty: none.')
@secure()
param teamsWebhookUrl string = ''

@description('URL that receives every alert as signed JSON (Standard Webhooks); empty: none.')
param webhookUrl string = ''

@description('Signing secret of that webhook, whsec_..., written to the Key Vault. Needed at the first deployment with webhookUrl.')
@secure()
param webhookSecret string = ''

@description('Shape of the JSON that the webhook receives.')
@allowed(['native', 'cloudevents', 'ocsf', 'azure-common-alert'])
param webhookFormat string = 'native'

@description('Integration key of a PagerDuty service, written to the Key Vault; empty: none.')
@secure()
param pagerDutyRoutingKey string = ''

@description('Names of entries that the Key Vault holds from an earlier deployment or by hand, separated by commas: teams-webhook-url, pagerduty-routing-key. The destination stays set up although its value is not given again.')
param keptVaultEntries string = ''

@description('Resource id of an existing action group that is told when the detector is in trouble; empty: one is created.')
param actionGroupResourceId string = ''

@description('E-mail address for the action group that is created; empty: nobody is told, the alerts are only listed in the portal.')
param alertEmail string = ''

@description('Version of Python.')
@allowed(['3.11', '3.12', '3.13'])
param pythonVersion string = '3.12'

@description('Memory of one instance in MB.')
@allowed([512, 2048, 4096])
param instanceMemoryMB int = 2048

@description('Most instances that each function may run on.')
@minValue(40)
@maxValue(1000)
param maximumInstanceCount int = 40

@description('Instances of the stream that are always ready. 0 is cheaper, and the first event after a silence waits for a start.')
@minValue(0)
@maxValue(10)
param streamAlwaysReady int = 1

@description('Partitions of the Event Hub. They cannot be reduced later.')
@minValue(1)
@maxValue(32)
param eventHubPartitions int = 4

@description('Throughput units that the Event Hubs namespace may grow to by itself.')
@minValue(1)
@maxValue(40)
param eventHubMaximumThroughputUnits int = 2

@description('Replication of the storage account.')
@allowed(['Standard_LRS', 'Standard_ZRS', 'Standard_GRS', 'Standard_GZRS'])
param storageSku string = 'Standard_LRS'

@description('Whether storage account, Key Vault and Event Hub are reached through private endpoints alone, from a virtual network that is created. The resource provider Microsoft.App must be registered.')
param privateNetworking bool = false

@description('Address range of that virtual network, /25 or larger.')
param virtualNetworkAddressPrefix string = '10.90.0.0/24'

@description('Whether the Function App and its deployment endpoint are reached from the internet. No function answers HTTP; Disabled needs deployments from inside the network.')
@allowed(['Enabled', 'Disabled'])
param functionAppPublicNetworkAccess string = 'Enabled'

@description('App settings to set to something other than their default, by name.')
param overrides settingOverrides = {}

@description('Further app settings by name, such as Key Vault references that a destinations file (DESTINATIONS_PATH) names.')
param additionalAppSettings object = {}

var resourceToken = toLower(uniqueString(subscription().id, environmentName, location))
var allTags = union(tags, { 'azd-env-name': environmentName })
var groupName = empty(resourceGroupName) ? 'rg-${environmentName}' : resourceGroupName

// Known at the start of the deployment, as the scope of a module has to be.
var watchedSubscriptions = empty(trim(subscriptionIds))
  ? [subscription().subscriptionId]
  : union(filter(split(toLower(replace(subscriptionIds, ' ', '')), ','), id => !empty(id)), [])

var createWorkspace = empty(workspaceResourceId)
var workspaceParts = split(workspaceResourceId, '/')
var workspaceSubscription = createWorkspace ? subscription().subscriptionId : workspaceParts[2]
var workspaceGroup = createWorkspace ? groupName : workspaceParts[4]
var workspaceName = createWorkspace ? 'log-${resourceToken}' : workspaceParts[8]
// As text and not of an existing resource: such a resource is read when the deployment starts, and it may not be there.
var workspaceId = createWorkspace
  ? '${group.id}/providers/Microsoft.OperationalInsights/workspaces/${workspaceName}'
  : workspaceResourceId

var furtherWorkspaceIds = filter(split(replace(additionalWorkspaceIds, ' ', ''), ','), id => !empty(id))
var furtherWorkspaceResourceIds = filter(split(replace(additionalWorkspaceResourceIds, ' ', ''), ','), id => !empty(id))

var vaultEntries = split(replace(keptVaultEntries, ' ', ''), ',')
var dataPublicNetworkAccess = privateNetworking ? 'Disabled' : 'Enabled'
var networkName = 'vnet-${resourceToken}'
var actionGroupName = 'ag-${resourceToken}'

resource group 'Microsoft.Resources/resourceGroups@2024-03-01' = {
  name: groupName
  location: location
  tags: allTags
}

module identity 'modules/identity.bicep' = {
  scope: group
  name: 'detector-identity'
  params: {
    name: 'id-${resourceToken}'
    location: location
    tags: allTags
  }
}

module newWorkspace 'modules/workspace.bicep' = if (createWorkspace) {
  scope: group
  name: 'detector-workspace'
  params: {
    name: workspaceName
    location: location
    tags: allTags
    retentionInDays: workspaceRetentionInDays
  }
}

module workspaceAccess 'modules/workspace-access.bicep' = {
  scope: resourceGroup(workspaceSubscription, workspaceGroup)
  name: 'detector-workspace-access-${resourceToken}'
  params: {
    workspaceName: workspaceName
    principalId: identity.outputs.principalId
    writesIncidents: sentinel == 'incidents'
  }
  dependsOn: [newWorkspace]
}

module furtherWorkspaceAccess 'modules/workspace-access.bicep' = [
  for (id, index) in furtherWorkspaceResourceIds: {
    scope: resourceGroup(split(id, '/')[2], split(id, '/')[4])
    name: 'detector-workspace-access-${resourceToken}-${index}'
    params: {
      workspaceName: split(id, '/')[8]
      principalId: identity.outputs.principalId
    }
  }
]

module ingestion 'modules/ingestion.bicep' = {
  scope: resourceGroup(workspaceSubscription, workspaceGroup)
  name: 'detector-ingestion-${resourceToken}'
  params: {
    workspaceName: workspaceName
    location: workspaceAccess.outputs.location
    tags: allTags
    ruleName: 'dcr-${resourceToken}'
    retentionInDays: tableRetentionInDays
    totalRetentionInDays: tableTotalRetentionInDays
    principalId: identity.outputs.principalId
  }
}

module monitoring 'modules/monitoring.bicep' = {
  scope: group
  name: 'detector-monitoring'
  params: {
    name: 'appi-${resourceToken}'
    location: location
    tags: allTags
    workspaceResourceId: workspaceId
    principalId: identity.outputs.principalId
  }
  dependsOn: [newWorkspace]
}

module storage 'modules/storage.bicep' = {
  scope: group
  name: 'detector-storage'
  params: {
    name: 'st${resourceToken}'
    location: location
    tags: allTags
    skuName: storageSku
    principalId: identity.outputs.principalId
    publicNetworkAccess: dataPublicNetworkAccess
  }
}

module events 'modules/events.bicep' = {
  scope: group
  name: 'detector-events'
  params: {
    name: 'evhns-${resourceToken}'
    location: location
    tags: allTags
    hubName: 'insights-activity-logs'
    consumerGroupName: 'automation-detector'
    partitionCount: eventHubPartitions
    maximumThroughputUnits: eventHubMaximumThroughputUnits
    principalId: identity.outputs.principalId
    publicNetworkAccess: dataPublicNetworkAccess
  }
}

module vault 'modules/vault.bicep' = {
  scope: group
  name: 'detector-vault'
  params: {
    name: 'kv-${resourceToken}'
    location: location
    tags: allTags
    principalId: identity.outputs.principalId
    workspaceResourceId: workspaceId
    publicNetworkAccess: dataPublicNetworkAccess
    teamsWebhookUrl: teamsWebhookUrl
    webhookSecret: webhookSecret
    pagerDutyRoutingKey: pagerDutyRoutingKey
  }
  dependsOn: [newWorkspace]
}

module network 'modules/network.bicep' = if (privateNetworking) {
  scope: group
  name: 'detector-network'
  params: {
    name: networkName
    location: location
    tags: allTags
    addressPrefix: virtualNetworkAddressPrefix
    appSubnetPrefix: cidrSubnet(virtualNetworkAddressPrefix, 26, 0)
    endpointSubnetPrefix: cidrSubnet(virtualNetworkAddressPrefix, 26, 1)
    storageResourceId: storage.outputs.resourceId
    vaultResourceId: vault.outputs.resourceId
    eventHubNamespaceResourceId: events.outputs.namespaceResourceId
  }
}

module app 'modules/app.bicep' = {
  scope: group
  name: 'detector-app'
  params: {
    name: 'func-${resourceToken}'
    planName: 'plan-${resourceToken}'
    location: location
    tags: allTags
    pythonVersion: pythonVersion
    instanceMemoryMB: instanceMemoryMB
    maximumInstanceCount: maximumInstanceCount
    streamAlwaysReady: streamAlwaysReady
    publicNetworkAccess: functionAppPublicNetworkAccess
    subnetResourceId: privateNetworking
      ? '${group.id}/providers/Microsoft.Network/virtualNetworks/${networkName}/subnets/app'
      : ''
    identityResourceId: identity.outputs.resourceId
    identityClientId: identity.outputs.clientId
    storageName: storage.outputs.name
    storageBlobEndpoint: storage.outputs.blobEndpoint
    storageQueueEndpoint: storage.outputs.queueEndpoint
    storageTableEndpoint: storage.outputs.tableEndpoint
    deploymentContainerUrl: storage.outputs.deploymentContainerUrl
    applicationInsightsConnectionString: monitoring.outputs.connectionString
    workspaceIds: join(concat([workspaceAccess.outputs.customerId], furtherWorkspaceIds), ',')
    workspaceResourceIds: join(concat([workspaceId], furtherWorkspaceResourceIds), ',')
    ingestionEndpoint: ingestion.outputs.endpoint
    ingestionRuleId: ingestion.outputs.immutableId
    eventHubHostName: events.outputs.namespaceHostName
    eventHubName: events.outputs.hubName
    eventHubConsumerGroup: events.outputs.consumerGroupName
    vaultUri: vault.outputs.uri
    sendsToTeams: !empty(teamsWebhookUrl) || contains(vaultEntries, 'teams-webhook-url')
    webhookUrl: webhookUrl
    webhookFormat: webhookFormat
    sendsToPagerDuty: !empty(pagerDutyRoutingKey) || contains(vaultEntries, 'pagerduty-routing-key')
    sentinelWorkspaceResourceId: sentinel == 'incidents' ? workspaceId : ''
    inventorySubscriptions: join(watchedSubscriptions, ',')
    overrides: overrides
    additionalAppSettings: additionalAppSettings
  }
  // Names are not resolved to the private endpoints before they exist.
  dependsOn: [network]
}

module automationReader 'modules/automation-reader.bicep' = [
  for id in watchedSubscriptions: {
    scope: subscription(id)
    name: 'detector-reader-${resourceToken}'
    params: {
      resourceToken: resourceToken
      principalId: identity.outputs.principalId
      readRuntimeEnvironments: readRuntimeEnvironments
    }
  }
]

module activityLogExport 'modules/activity-log-export.bicep' = [
  for id in watchedSubscriptions: if (exportActivityLog) {
    scope: subscription(id)
    name: 'detector-export-${resourceToken}'
    params: {
      name: 'automation-detector-${resourceToken}'
      exportRuleResourceId: events.outputs.exportRuleResourceId
      hubName: events.outputs.hubName
      workspaceResourceId: exportActivityLogToWorkspace ? workspaceId : ''
    }
    dependsOn: [newWorkspace]
  }
]

module incidents 'modules/sentinel.bicep' = if (onboardSentinel || sentinel == 'rule') {
  scope: resourceGroup(workspaceSubscription, workspaceGroup)
  name: 'detector-sentinel-${resourceToken}'
  params: {
    workspaceName: workspaceName
    onboard: onboardSentinel
    createRule: sentinel == 'rule'
  }
  // The rule is refused while its table does not exist.
  dependsOn: [ingestion]
}

module actionGroup 'modules/action-group.bicep' = if (empty(actionGroupResourceId)) {
  scope: group
  name: 'detector-action-group'
  params: {
    name: actionGroupName
    tags: allTags
    emailAddress: alertEmail
  }
}

module alerts 'modules/alerts.bicep' = {
  scope: group
  name: 'detector-alerts'
  params: {
    namePrefix: 'automation-detector-${resourceToken}'
    location: workspaceAccess.outputs.location
    tags: allTags
    workspaceResourceId: workspaceId
    eventHubNamespaceResourceId: events.outputs.namespaceResourceId
    actionGroupResourceId: empty(actionGroupResourceId)
      ? '${group.id}/providers/Microsoft.Insights/actionGroups/${actionGroupName}'
      : actionGroupResourceId
  }
  // The table has to exist, and so has the action group.
  dependsOn: [
    actionGroup
    ingestion
  ]
}

module workbook 'modules/workbook.bicep' = {
  scope: group
  name: 'detector-workbook'
  params: {
    location: location
    tags: allTags
    workspaceResourceId: workspaceId
  }
  dependsOn: [newWorkspace]
}

@description('Resource group of the detector.')
output AZURE_RESOURCE_GROUP string = groupName

@description('Name of the Function App.')
output FUNCTION_APP_NAME string = app.outputs.name

@description('Client id of the identity.')
output IDENTITY_CLIENT_ID string = identity.outputs.clientId

@description('Object id of the identity, for role assignments beyond this template.')
output IDENTITY_PRINCIPAL_ID string = identity.outputs.principalId

@description('Name of the Key Vault that holds the secrets of destinations.')
output KEY_VAULT_NAME string = vault.outputs.name

@description('Name of the storage account.')
output STORAGE_ACCOUNT_NAME string = storage.outputs.name

@description('Table endpoint, STATE_TABLE_ENDPOINT of a local run.')
output STATE_TABLE_ENDPOINT string = storage.outputs.tableEndpoint

@description('Blob endpoint, STATE_BLOB_ENDPOINT of a local run.')
output STATE_BLOB_ENDPOINT string = storage.outputs.blobEndpoint

@description('Resource id of the workspace.')
output WORKSPACE_RESOURCE_ID string = workspaceId

@description('Workspace id, WORKSPACE_IDS of a local run.')
output WORKSPACE_ID string = workspaceAccess.outputs.customerId

@description('Endpoint of the data collection rule, LOGS_INGESTION_ENDPOINT of a local run.')
output LOGS_INGESTION_ENDPOINT string = ingestion.outputs.endpoint

@description('Immutable id of the data collection rule, LOGS_INGESTION_RULE_ID of a local run.')
output LOGS_INGESTION_RULE_ID string = ingestion.outputs.immutableId

@description('Host name of the Event Hubs namespace.')
output EVENT_HUB_NAMESPACE string = events.outputs.namespaceHostName

@description('Subscriptions that are watched.')
output WATCHED_SUBSCRIPTIONS string = join(watchedSubscriptions, ',')
