// The Function App on Flex Consumption and its settings.

@description('Name of the Function App.')
param name string

@description('Name of the plan.')
param planName string

@description('Region. Flex Consumption is not in every one.')
param location string

@description('Tags of every resource.')
param tags object

@description('Version of Python.')
param pythonVersion string

@description('Memory of one instance in MB.')
param instanceMemoryMB int

@description('Most instances that each function may run on.')
param maximumInstanceCount int

@description('Instances of the stream that are always ready.')
param streamAlwaysReady int

@description('Whether the app and its deployment endpoint are reached from the internet. No function answers HTTP.')
param publicNetworkAccess string

@description('Resource id of the subnet that the app leaves through; empty: none.')
param subnetResourceId string

@description('Resource id of the identity.')
param identityResourceId string

@description('Client id of the identity.')
param identityClientId string

@description('Name of the storage account.')
param storageName string

@description('Blob endpoint of the storage account, with a slash at its end.')
param storageBlobEndpoint string

@description('Queue endpoint of the storage account, with a slash at its end.')
param storageQueueEndpoint string

@description('Table endpoint of the storage account, with a slash at its end.')
param storageTableEndpoint string

@description('URL of the container that holds the app package.')
param deploymentContainerUrl string

@description('Connection string of Application Insights.')
param applicationInsightsConnectionString string

@description('Ids (GUIDs) of the workspaces to hunt in, separated by commas.')
param workspaceIds string

@description('Resource ids of the same workspaces in the same order, separated by commas.')
param workspaceResourceIds string

@description('Endpoint of the data collection rule.')
param ingestionEndpoint string

@description('Immutable id of the data collection rule.')
param ingestionRuleId string

@description('Host name of the Event Hubs namespace.')
param eventHubHostName string

@description('Name of the hub.')
param eventHubName string

@description('Name of the consumer group.')
param eventHubConsumerGroup string

@description('URI of the Key Vault, with a slash at its end.')
param vaultUri string

@description('Whether the vault holds teams-webhook-url.')
param sendsToTeams bool

@description('URL that receives every alert as signed JSON; empty: none.')
param webhookUrl string

@description('Shape of that JSON.')
param webhookFormat string

@description('Whether the vault holds pagerduty-routing-key.')
param sendsToPagerDuty bool

@description('Resource id of the workspace whose Microsoft Sentinel gets an incident for each story; empty: none.')
param sentinelWorkspaceResourceId string

@description('Subscriptions whose automation accounts are watched, separated by commas.')
param inventorySubscriptions string

@description('Settings to set to something other than their default, by name. main.bicep checks the names.')
param overrides object

@description('Further app settings by name, such as secrets that a destinations file refers to.')
param additionalAppSettings object

// The clouds that the code knows; another one fails the deployment.
var clouds = {
  AzureCloud: 'public'
  AzureUSGovernment: 'usgovernment'
  AzureChinaCloud: 'china'
}
var azureCloud = clouds[environment().name]
// The host builds the addresses of host storage from the account's name with the suffix of the public cloud.
var hostStorageByName = azureCloud == 'public'

// One setting per line: a test compares these names with those that the code reads. What is empty here and not among the
// overrides is not set, so that the code's own default holds.
// settings: begin
var settings = {
  AzureWebJobsStorage__accountName: hostStorageByName ? storageName : ''
  AzureWebJobsStorage__blobServiceUri: hostStorageByName ? '' : storageBlobEndpoint
  AzureWebJobsStorage__queueServiceUri: hostStorageByName ? '' : storageQueueEndpoint
  AzureWebJobsStorage__tableServiceUri: hostStorageByName ? '' : storageTableEndpoint
  AzureWebJobsStorage__credential: 'managedidentity'
  AzureWebJobsStorage__clientId: identityClientId
  ACTIVITY_LOG_HUB__fullyQualifiedNamespace: eventHubHostName
  ACTIVITY_LOG_HUB__credential: 'managedidentity'
  ACTIVITY_LOG_HUB__clientId: identityClientId
  APPLICATIONINSIGHTS_CONNECTION_STRING: applicationInsightsConnectionString
  APPLICATIONINSIGHTS_AUTHENTICATION_STRING: 'ClientId=${identityClientId};Authorization=AAD'
  WORKSPACE_IDS: workspaceIds
  WORKSPACE_RESOURCE_IDS: workspaceResourceIds
  AZURE_CLOUD: azureCloud
  AZURE_CLIENT_ID: identityClientId
  LOGS_ENDPOINT: ''
  ARM_ENDPOINT: ''
  CA_BUNDLE: ''
  STATE_TABLE_ENDPOINT: storageTableEndpoint
  STATE_BLOB_ENDPOINT: storageBlobEndpoint
  // These two are never set: the state is in the storage account, and a connection string would win over the identity.
  STATE_CONNECTION_STRING: ''
  STATE_PATH: ''
  TEAMS_WEBHOOK_URL: sendsToTeams ? '@Microsoft.KeyVault(SecretUri=${vaultUri}secrets/teams-webhook-url/)' : ''
  LOGS_INGESTION_ENDPOINT: ingestionEndpoint
  LOGS_INGESTION_RULE_ID: ingestionRuleId
  LOGS_INGESTION_STREAM: 'Custom-AutomationDetections_CL'
  WEBHOOK_URL: webhookUrl
  WEBHOOK_SECRET: empty(webhookUrl) ? '' : '@Microsoft.KeyVault(SecretUri=${vaultUri}secrets/webhook-secret/)'
  WEBHOOK_FORMAT: webhookFormat
  PAGERDUTY_ROUTING_KEY: sendsToPagerDuty ? '@Microsoft.KeyVault(SecretUri=${vaultUri}secrets/pagerduty-routing-key/)' : ''
  SENTINEL_WORKSPACE_RESOURCE_ID: sentinelWorkspaceResourceId
  DESTINATIONS_PATH: ''
  RULES_PATH: ''
  HUNT_CONCURRENCY: ''
  HUNT_OVERLAP: ''
  HUNT_MAX_WINDOW: ''
  HUNT_INITIAL_LOOKBACK: ''
  HUNT_QUERY_TIMEOUT: ''
  HUNT_TIME_BUDGET: ''
  HUNT_ALERT_LIMIT: ''
  SWEEP_LOOKBACK: ''
  // Never set, not even to an empty string: it is a connection string, and wins over the identity.
  ACTIVITY_LOG_HUB: ''
  ACTIVITY_LOG_HUB_NAME: eventHubName
  ACTIVITY_LOG_HUB_CONSUMER_GROUP: eventHubConsumerGroup
  STREAM_TIME_BUDGET: ''
  INVENTORY_SUBSCRIPTIONS: inventorySubscriptions
  INVENTORY_CONCURRENCY: ''
  INVENTORY_TIME_BUDGET: ''
  INVENTORY_STALE_AFTER: ''
  INVENTORY_STREAM: 'Custom-AutomationInventory_CL'
  ENRICHMENT_TIMEOUT: ''
  TRIAGE_DEADLINE: ''
  CONTENT_LIMIT_BYTES: ''
  DELIVERY_TIME_BUDGET: ''
}
// settings: end

var streamInstances = [
  {
    name: 'function:stream'
    instanceCount: streamAlwaysReady
  }
]

resource plan 'Microsoft.Web/serverfarms@2024-04-01' = {
  // checkov:skip=CKV_AZURE_225:Timers are singletons and state is in storage, so a failed zone delays one run
  name: planName
  location: location
  tags: tags
  kind: 'functionapp'
  sku: {
    name: 'FC1'
    tier: 'FlexConsumption'
  }
  properties: {
    reserved: true
  }
}

resource app 'Microsoft.Web/sites@2024-04-01' = {
  // checkov:skip=CKV_AZURE_17:No function answers HTTP; the platform's own deployment endpoint has no client certificate
  // checkov:skip=CKV_AZURE_18:http20Enabled is refused on Flex Consumption in some regions; no function answers HTTP
  // checkov:skip=CKV_AZURE_67:http20Enabled is refused on Flex Consumption in some regions; no function answers HTTP
  // checkov:skip=CKV_AZURE_78:ftpsState is refused on Flex Consumption in some regions; the ftp policy below forbids passwords
  // checkov:skip=CKV_AZURE_212:Flex Consumption has no fixed number of instances; streamAlwaysReady is what can be set
  // checkov:skip=CKV_AZURE_213:A health check asks over HTTP, and no function answers; the heartbeat alert takes its place
  // checkov:skip=CKV_AZURE_222:It is the parameter functionAppPublicNetworkAccess; azd deploys from outside by default
  name: name
  location: location
  tags: union(tags, { 'azd-service-name': 'detector' })
  kind: 'functionapp,linux'
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: {
      '${identityResourceId}': {}
    }
  }
  properties: {
    serverFarmId: plan.id
    httpsOnly: true
    publicNetworkAccess: publicNetworkAccess
    // The property of the same name in siteConfig has no effect.
    keyVaultReferenceIdentity: identityResourceId
    virtualNetworkSubnetId: empty(subnetResourceId) ? null : subnetResourceId
    functionAppConfig: {
      deployment: {
        storage: {
          type: 'blobContainer'
          value: deploymentContainerUrl
          authentication: {
            type: 'UserAssignedIdentity'
            userAssignedIdentityResourceId: identityResourceId
          }
        }
      }
      runtime: {
        name: 'python'
        version: pythonVersion
      }
      scaleAndConcurrency: {
        maximumInstanceCount: maximumInstanceCount
        instanceMemoryMB: instanceMemoryMB
        // An Event Hub trigger with an identity has been left asleep by the scale controller; one ready instance is not.
        alwaysReady: streamAlwaysReady > 0 ? streamInstances : []
      }
    }
    // Anything else here is refused on Flex Consumption, in some regions only.
    siteConfig: {
      minTlsVersion: '1.2'
    }
  }
}

resource noFtpPassword 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2024-04-01' = {
  parent: app
  name: 'ftp'
  properties: {
    allow: false
  }
}

resource noDeploymentPassword 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2024-04-01' = {
  parent: app
  name: 'scm'
  properties: {
    allow: false
  }
}

module appSettings 'app-settings.bicep' = {
  name: 'detector-app-settings'
  params: {
    appName: app.name
    settings: union(additionalAppSettings, settings, overrides)
  }
}

@description('Name of the Function App.')
output name string = app.name

@description('Resource id of the Function App.')
output resourceId string = app.id
